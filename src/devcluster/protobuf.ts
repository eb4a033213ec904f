import type { JsonObject } from "../core/json.ts";
import { badRequest, StatusError } from "./errors.ts";

/** Number, name and type (text if none) of the fields in what kubectl's subcommands send as protobuf whatever we prefer. */
const MESSAGES: Readonly<Record<string, string>> = {
  TypeMeta: "1 apiVersion,2 kind",
  ObjectMeta: "1 name,2 generateName,3 namespace,11 labels map,12 annotations map",
  Namespace: "1 metadata ObjectMeta",
  ConfigMap: "1 metadata ObjectMeta,2 data map,3 binaryData bytesMap",
  Secret: "1 metadata ObjectMeta,2 data bytesMap,3 type",
  map: "1 key,2 value",
  bytesMap: "1 key,2 value bytes",
  SelfSubjectReview: "1 metadata ObjectMeta",
  SelfSubjectAccessReview: "1 metadata ObjectMeta,2 spec SelfSubjectAccessReviewSpec",
  SelfSubjectAccessReviewSpec: "1 resourceAttributes ResourceAttributes",
  ResourceAttributes: "1 namespace,2 verb,3 group,4 version,5 resource,6 subresource,7 name",
};
const MAGIC_BYTES = 4;

/** The JSON of an object in Kubernetes' protobuf envelope; 415 for a kind that is not known here. */
export function fromProtobuf(bytes: Uint8Array): string {
  const [typeMeta, object] = [...records(bytes.subarray(MAGIC_BYTES))].map(([, value]) => value);
  const type = decode("TypeMeta", typeMeta ?? new Uint8Array());
  if (object && Object.hasOwn(MESSAGES, String(type.kind))) {
    return JSON.stringify({ ...type, ...decode(String(type.kind), object) });
  }
  const message = `protobuf of kind "${type.kind}" is not read here: send application/json`;
  throw new StatusError(415, "UnsupportedMediaType", message);
}

function decode(message: string, bytes: Uint8Array): JsonObject {
  const fields = MESSAGES[message]!.split(",").map((field) => field.split(" "));
  const object: JsonObject = {};
  for (const [number, value] of records(bytes)) {
    const [, name, type] = fields.find(([of]) => of === String(number)) ?? [];
    if (!name || value.length === 0) continue;
    if (type === undefined) object[name] = new TextDecoder().decode(value);
    else if (type === "bytes") object[name] = value.toBase64();
    else {
      const inner = decode(type, value);
      const entry = { ...Object(object[name]), [String(inner.key)]: inner.value ?? "" };
      object[name] = type.toLowerCase().endsWith("map") ? entry : inner;
    }
  }
  return object;
}

/** The fields of a message that have a length: nothing else is in what we read. */
function* records(bytes: Uint8Array): Generator<[number: number, value: Uint8Array]> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  };
  while (at < bytes.length) {
    const [tag, value] = [varint(), varint()];
    if (tag % 8 === 2) yield [tag >> 3, bytes.subarray(at, at += value)];
    else if (tag % 8 !== 0) throw badRequest("cannot read the protobuf of the request");
  }
}
