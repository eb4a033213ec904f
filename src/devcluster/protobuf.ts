import protobuf from "protobufjs";
import type { JsonObject } from "../model/json.ts";
import { badRequest, StatusError } from "./errors.ts";

const MAGIC_BYTES = 4;
/** The fields we read of what kubectl's subcommands send as protobuf whatever we prefer, as Kubernetes numbers them. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Unknown { TypeMeta typeMeta = 1; bytes raw = 2; }
  message TypeMeta { string apiVersion = 1; string kind = 2; }
  message ObjectMeta {
    string name = 1; string generateName = 2; string namespace = 3;
    map<string, string> labels = 11; map<string, string> annotations = 12;
  }
  message Namespace { ObjectMeta metadata = 1; }
  message ConfigMap { ObjectMeta metadata = 1; map<string, string> data = 2; map<string, bytes> binaryData = 3; }
  message Secret { ObjectMeta metadata = 1; map<string, bytes> data = 2; string type = 3; }
  message SelfSubjectReview { ObjectMeta metadata = 1; }
  message SelfSubjectAccessReview { ObjectMeta metadata = 1; Spec spec = 2; }
  message Spec { ResourceAttributes resourceAttributes = 1; }
  message ResourceAttributes {
    string namespace = 1; string verb = 2; string group = 3; string version = 4;
    string resource = 5; string subresource = 6; string name = 7;
  }`);

/** The JSON of an object in Kubernetes' protobuf envelope; 415 for a kind that is not known here. */
export function fromProtobuf(bytes: Uint8Array): string {
  const { typeMeta, raw } = decode("Unknown", bytes.subarray(MAGIC_BYTES));
  const type: JsonObject = Object(typeMeta);
  const kind = String(type.kind);
  if (root.get(kind)) {
    return JSON.stringify({ ...type, ...decode(kind, Uint8Array.fromBase64(String(raw ?? ""))) });
  }
  const message = `protobuf of kind "${kind}" is not read here: send application/json`;
  throw new StatusError(415, "UnsupportedMediaType", message);
}

function decode(message: string, bytes: Uint8Array): JsonObject {
  try {
    return root.lookupType(message).decode(bytes).toJSON();
  } catch (error) {
    throw badRequest(`cannot read the protobuf of the request: ${(error as Error).message}`);
  }
}
