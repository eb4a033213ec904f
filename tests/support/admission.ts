/** The route of admission reviews, without the program around it. */
import { type AdmissionOptions, createAdmissionHandler } from "../../src/http/admission.ts";
import { addressSet, createBodyLimits } from "../../src/http/request.ts";
import { systemClock } from "../../src/model/time.ts";
import { NO_LIMITS } from "../../src/pipeline/limits.ts";

/** A handler that nothing limits but the memory for reviews. */
export function admissionHandler(options: Partial<AdmissionOptions> = {}) {
  return createAdmissionHandler({
    admissionWriters: () => [],
    exceptionMaxDays: 365,
    trustedProxies: addressSet([]),
    allow: () => true,
    bodies: createBodyLimits({ maxBytes: 2 ** 24, memoryBytes: Infinity }),
    slices: NO_LIMITS.slices,
    clock: systemClock,
    ...options,
  });
}
