import type { JsonObject } from "../core/json.ts";
import { badRequest, StatusError } from "./errors.ts";

/** Number, name and type (text if none) of the fields in what kubectl's subcommands send as protobuf whatever we prefer. */
const MESSAGES: Readonly<Record<string, string>> = {
  TypeMeta: "1 apiVersion,2 kind",
  ObjectMeta: "1 name,2 generateName,3 namespace,11 labels map,12 annotations map",
  Namespace: "1 metadata ObjectMeta",
  ConfigMap: "1 metadata ObjectMeta,2 data map,3 binaryData bytesMap",
  Secret: "1 metadata ObjectMeta,2 data bytesMap,3 type",
  Deployment: "1 metadata ObjectMeta,2 spec DeploymentSpec",
  DeploymentSpec: "1 replicas number,2 selector LabelSelector,3 template PodTemplateSpec",
  LabelSelector: "1 matchLabels map",
  PodTemplateSpec: "1 metadata ObjectMeta,2 spec PodSpec",
  PodSpec: "2 containers Container[]",
  Container: "1 name,2 image",
  SelfSubjectReview: "1 metadata ObjectMeta",
  SelfSubjectAccessReview: "1 metadata ObjectMeta,2 spec SelfSubjectAccessReviewSpec",
  SelfSubjectAccessReviewSpec: "1 resourceAttributes ResourceAttributes",
  ResourceAttributes: "1 namespace,2 verb,3 group,4 version,5 resource,6 subresource,7 name",
};
const MAGIC_BYTES = 4;
const UNREADABLE = "cannot read the protobuf of the request";

/** The JSON of an object in Kubernetes' protobuf envelope; 415 for a kind that is not known here. */
export function fromProtobuf(bytes: Uint8Array): string {
  const [typeMeta, raw] = records(bytes.subarray(MAGIC_BYTES)).map(([, value]) => value);
  if (!(typeMeta instanceof Uint8Array) || !(raw instanceof Uint8Array)) throw badRequest(UNREADABLE);
  const type = decode("TypeMeta", typeMeta);
  if (Object.hasOwn(MESSAGES, String(type.kind))) {
    return JSON.stringify({ ...type, ...decode(String(type.kind), raw) });
  }
  const message = `protobuf of kind "${type.kind}" is not read here: send application/json`;
  throw new StatusError(415, "UnsupportedMediaType", message);
}

function decode(message: string, bytes: Uint8Array): JsonObject {
  const known = (MESSAGES[message] ?? "").split(",").map((field) => field.split(" "));
  const object: JsonObject = {};
  for (const [number, value] of records(bytes)) {
    const [, name, type = "text"] = known.find(([of]) => of === String(number)) ?? [];
    if (!name || (typeof value !== "number" && value.length === 0)) continue;
    const list = Array.isArray(object[name]) ? object[name] : [];
    if (typeof value === "number") object[name] = value;
    else if (type.endsWith("[]")) object[name] = [...list, decode(type.slice(0, -2), value)];
    else if (type.endsWith("ap")) object[name] = { ...Object(object[name]), ...entry(value, type) };
    else object[name] = type in MESSAGES ? decode(type, value) : plain(value, type);
  }
  return object;
}

function entry(bytes: Uint8Array, type: string): JsonObject {
  const [key, value] = [1, 2].map((wanted) => records(bytes).find(([number]) => number === wanted)?.[1]);
  const text = (of: typeof key, as: string) => of instanceof Uint8Array ? plain(of, as) : "";
  return { [text(key, "text")]: text(value, type === "map" ? "text" : "bytes") };
}

function plain(bytes: Uint8Array, type: string): string {
  if (type === "text") return new TextDecoder().decode(bytes);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function records(bytes: Uint8Array): [number: number, value: Uint8Array | number][] {
  const found: [number, Uint8Array | number][] = [];
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
    const tag = varint();
    const value = varint();
    if (tag % 8 === 0) found.push([tag >> 3, value]);
    else if (tag % 8 !== 2) throw badRequest(UNREADABLE);
    else found.push([tag >> 3, bytes.subarray(at, at += value)]);
  }
  return found;
}
