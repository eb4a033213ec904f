/** The context of draw(): what sources need besides the payload. */
import type { DrawContext } from "../model/event.ts";
import type { SettingValues } from "../text/setting.ts";
import { RESERVED_SOURCES } from "./registry.ts";

/** Adds values of the settings and the registry to those that the process observes. */
export function createDrawContext(
  settings: SettingValues,
  observed: Pick<DrawContext, "ownUser" | "isOwnRequest" | "isApiServerStarting">,
): DrawContext {
  return {
    reservedSources: RESERVED_SOURCES,
    setting: (declared) => settings.of(declared),
    ...observed,
  };
}
