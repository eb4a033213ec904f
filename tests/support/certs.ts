/** X.509 v3 certificates for tests, written here so that no test needs an `openssl` on the machine. */
import { Buffer } from "node:buffer";
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { DAY_MS } from "../../src/model/time.ts";

const OID = {
  ecdsaWithSha256: [1, 2, 840, 10045, 4, 3, 2],
  commonName: [2, 5, 4, 3],
  organization: [2, 5, 4, 10],
  subjectAltName: [2, 5, 29, 17],
  basicConstraints: [2, 5, 29, 19],
  keyUsage: [2, 5, 29, 15],
  extendedKeyUsage: [2, 5, 29, 37],
  serverAuth: [1, 3, 6, 1, 5, 5, 7, 3, 1],
  clientAuth: [1, 3, 6, 1, 5, 5, 7, 3, 2],
} as const;

/** A certificate and its private key, both PEM. */
export interface CertKey {
  readonly certPem: string;
  readonly keyPem: string;
}

/** What a certificate says. A client's user is its `commonName`, its groups are its `organizations`. */
export interface CertRequest {
  readonly usage: "server" | "client";
  readonly commonName: string;
  readonly organizations?: readonly string[];
  readonly dnsNames?: readonly string[];
  /** IPv4 addresses. */
  readonly ipAddresses?: readonly string[];
  /** Default: in a year. In the past for a certificate that has run out. */
  readonly notAfter?: Date;
}

/** A root that signs certificates. */
export interface CertAuthority {
  readonly commonName: string;
  readonly certPem: string;
  readonly keyPem: string;
  issue(request: CertRequest): CertKey;
}

/** Makes a self-signed EC P-256 root. */
export function createCertAuthority(commonName: string): CertAuthority {
  const keys = newKeys();
  const issuer: Issuer = { name: distinguishedName(commonName), key: keys.privateKey };
  const certPem = certificate(issuer, {
    subject: issuer.name,
    publicKey: keys.publicKey,
    notAfter: new Date(Date.now() + 3650 * DAY_MS),
    extensions: [
      extension(OID.basicConstraints, sequence(boolean(true)), true),
      extension(OID.keyUsage, der(0x03, Uint8Array.of(1, 0x06)), true), // keyCertSign, cRLSign
    ],
  });
  return {
    commonName,
    certPem,
    keyPem: privatePem(keys.privateKey),
    issue: (request) => issue(issuer, request),
  };
}

/** A root made earlier, perhaps by another process. */
export function loadCertAuthority(root: Omit<CertAuthority, "issue">): CertAuthority {
  const issuer: Issuer = { name: distinguishedName(root.commonName), key: createPrivateKey(root.keyPem) };
  return { ...root, issue: (request) => issue(issuer, request) };
}

/** A bare EC key pair (PKCS #8 and SPKI PEM), as service account tokens are signed with. */
export function createKeyPair(): { readonly privatePem: string; readonly publicPem: string } {
  const keys = newKeys();
  return {
    privatePem: privatePem(keys.privateKey),
    publicPem: keys.publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}

interface Issuer {
  readonly name: Uint8Array;
  readonly key: KeyObject;
}

function issue(issuer: Issuer, request: CertRequest): CertKey {
  const keys = newKeys();
  const altNames = [
    ...(request.dnsNames ?? []).map((name) => der(0x82, text(name))),
    ...(request.ipAddresses ?? []).map((ip) => der(0x87, Uint8Array.from(ip.split("."), Number))),
  ];
  const purpose = request.usage === "server" ? OID.serverAuth : OID.clientAuth;
  const certPem = certificate(issuer, {
    subject: distinguishedName(request.commonName, request.organizations),
    publicKey: keys.publicKey,
    notAfter: request.notAfter ?? new Date(Date.now() + 365 * DAY_MS),
    extensions: [
      extension(OID.basicConstraints, sequence(), true),
      extension(OID.keyUsage, der(0x03, Uint8Array.of(7, 0x80)), true), // digitalSignature
      extension(OID.extendedKeyUsage, sequence(objectId(purpose))),
      ...(altNames.length > 0 ? [extension(OID.subjectAltName, sequence(...altNames))] : []),
    ],
  });
  return { certPem, keyPem: privatePem(keys.privateKey) };
}

interface CertificateBody {
  readonly subject: Uint8Array;
  readonly publicKey: KeyObject;
  readonly notAfter: Date;
  readonly extensions: readonly Uint8Array[];
}

function certificate(issuer: Issuer, body: CertificateBody): string {
  const algorithm = sequence(objectId(OID.ecdsaWithSha256));
  const notBefore = new Date(Math.min(Date.now(), body.notAfter.getTime()) - DAY_MS);
  const toBeSigned = sequence(
    der(0xa0, integer(Uint8Array.of(2))), // v3
    integer(randomBytes(16)),
    algorithm,
    issuer.name,
    sequence(utcTime(notBefore), utcTime(body.notAfter)),
    body.subject,
    body.publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...body.extensions)),
  );
  const signature = sign("sha256", toBeSigned, issuer.key);
  const signed = sequence(toBeSigned, algorithm, der(0x03, Uint8Array.of(0), signature));
  const lines = Buffer.from(signed).toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function newKeys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "prime256v1" });
}

function privatePem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function distinguishedName(commonName: string, organizations: readonly string[] = []): Uint8Array {
  const attribute = (oid: readonly number[], value: string) =>
    der(0x31, sequence(objectId(oid), der(0x0c, text(value))));
  return sequence(
    ...organizations.map((name) => attribute(OID.organization, name)),
    attribute(OID.commonName, commonName),
  );
}

function extension(oid: readonly number[], value: Uint8Array, critical = false): Uint8Array {
  return sequence(objectId(oid), ...(critical ? [boolean(true)] : []), der(0x04, value));
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const size = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return new Uint8Array(Buffer.concat([Uint8Array.of(tag, ...size), ...parts]));
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts);
}

function boolean(value: boolean): Uint8Array {
  return der(0x01, Uint8Array.of(value ? 0xff : 0));
}

function integer(bytes: Uint8Array): Uint8Array {
  // DER integers are signed and minimal: no leading zero octet but the one that keeps them positive.
  const first = bytes.findIndex((byte) => byte !== 0);
  const minimal = first < 0 ? Uint8Array.of(0) : bytes.subarray(first);
  return (minimal[0] ?? 0) >= 0x80 ? der(0x02, Uint8Array.of(0), minimal) : der(0x02, minimal);
}

function objectId([first = 0, second = 0, ...rest]: readonly number[]): Uint8Array {
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Uint8Array.from(bytes));
}

function utcTime(date: Date): Uint8Array {
  return der(0x17, text(date.toISOString().replace(/^..|[-:T]|\.\d+/g, "")));
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
