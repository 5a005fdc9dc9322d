// A certificate for a server without a configured one. Node.js can create keys and signatures, but no
// certificates (X.509, RFC 5280); the necessary structures of DER (X.690) are encoded here.
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

/** A certificate and its key, PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const year = 365 * 24 * 60 * 60 * 1000;

/**
 * Makes a key (P-256) and a self-signed certificate for one IP address and "localhost", valid for
 * a year from an hour before `nowMs`. Clients cannot verify it: it only encrypts the connection.
 */
export function makeCertificate(address: string, nowMs: number): Certificate {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subjectKey = publicKey.export({ type: "spki", format: "der" });
  const ecdsaWithSha256 = sequence(oid("1.2.840.10045.4.3.2"));
  const name = sequence(set(sequence(oid("2.5.4.3"), text(0x0c, "davit streaming"))));
  const body = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))), // version 3
    tagged(0x02, serialNumber()),
    ecdsaWithSha256,
    name,
    sequence(time(nowMs - 60 * 60 * 1000), time(nowMs + year)),
    name,
    subjectKey,
    tagged(0xa3, sequence(...extensions(address, subjectKey))),
  );
  const signature = sign("sha256", body, privateKey);
  const der = sequence(body, ecdsaWithSha256, tagged(0x03, Buffer.from([0]), signature));
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  const cert = ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join(
    "\n",
  );
  return { cert, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}

function extensions(address: string, subjectKey: Buffer): readonly Buffer[] {
  const keyId = createHash("sha1").update(subjectKey).digest();
  const critical = tagged(0x01, Buffer.from([0xff]));
  const holding = (value: Buffer): Buffer => tagged(0x04, value);
  return [
    sequence(oid("2.5.29.14"), holding(tagged(0x04, keyId))), // subjectKeyIdentifier
    sequence(oid("2.5.29.19"), critical, holding(sequence())), // basicConstraints: no CA
    sequence(oid("2.5.29.15"), critical, holding(tagged(0x03, Buffer.from([7, 0x80])))), // to sign
    sequence(oid("2.5.29.37"), holding(sequence(oid("1.3.6.1.5.5.7.3.1")))), // for servers
    sequence(
      oid("2.5.29.17"), // subjectAltName
      holding(sequence(text(0x82, "localhost"), tagged(0x87, addressBytes(address)))),
    ),
  ];
}

/** Positive and not zero (RFC 5280, 4.1.2.2). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return bytes;
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  // The URL parser normalizes the last 32 bits to hexadecimal, so that only "::" must be expanded.
  const normal = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = normal.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const before = groups(head);
  const after = groups(tail ?? "");
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  const all = [...before, ...zeros, ...after].map((group) => group.padStart(4, "0"));
  return Buffer.from(all.join(""), "hex");
}

/** UTCTime until 2049, GeneralizedTime after that (RFC 5280, 4.1.2.5). */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
  return Number(digits.slice(0, 4)) < 2050 ? text(0x17, digits.slice(2)) : text(0x18, digits);
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [first * 40 + second];
  for (const arc of rest) {
    const base128 = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) base128.unshift((left & 0x7f) | 0x80);
    bytes.push(...base128);
  }
  return tagged(0x06, Buffer.from(bytes));
}

function text(tag: number, value: string): Buffer {
  return tagged(tag, Buffer.from(value, "utf8"));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, ...parts);
}

function set(...parts: readonly Buffer[]): Buffer {
  return tagged(0x31, ...parts);
}

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), ...parts]);
}
