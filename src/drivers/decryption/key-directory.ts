import { createPrivateKey, type JsonWebKey, type KeyObject } from "node:crypto";
import { constants, type Dirent, type Stats } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { geteuid } from "node:process";

import { messageOf } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

/** A private key of this node. */
export interface PrivateKey {
  readonly file: string;
  readonly key: KeyObject;
  /** The `kid` of a JWK; empty for none. */
  readonly id: string;
}

/** What a directory with keys has. */
export interface KeyDirectory {
  readonly keys: readonly PrivateKey[];
  /** Why files in it are not used, each with its path. */
  readonly problems: readonly string[];
}

// Bounds for a directory that was named by mistake.
const maxFiles = 256;
const maxDepth = 8;
const maxKeyBytes = 64 * 1024;
/** What the library for JWE accepts. */
const minRsaBits = 2048;

/**
 * Reads the private keys in a directory and its subdirectories: PEM, DER (PKCS #8, PKCS #1, SEC 1) or JWK, of RSA and of
 * the elliptic curves of NIST, as CRI-O and ctd-decoder of imgcrypt do. Symbolic links are not followed. A key that others
 * than its owner may read is not used, nor one of another user. Files that are not private keys, such as certificates, are
 * ignored. Rejects when the directory cannot be read.
 */
export async function readKeyDirectory(directory: string): Promise<KeyDirectory> {
  const keys: PrivateKey[] = [];
  const problems: string[] = [];
  const { files, isCut } = await filesIn(directory, problems);
  for (const file of files) {
    const found = await readKey(file);
    if (typeof found === "string") problems.push(`${quote(file)} ${found}`);
    else if (found !== undefined) keys.push(found);
  }
  if (isCut) problems.push(`only the first ${maxFiles} files were read`);
  return { keys, problems };
}

/** The files below a directory, in the order of their names. */
async function filesIn(
  directory: string,
  problems: string[],
): Promise<{ readonly files: readonly string[]; readonly isCut: boolean }> {
  const files: string[] = [];
  const walk = async (path: string, depth: number): Promise<boolean> => {
    const entries = await entriesOf(path);
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const below = join(path, entry.name);
      if (entry.isSymbolicLink()) problems.push(`${quote(below)} is a symbolic link`);
      else if (entry.isFile() && files.length === maxFiles) return true;
      else if (entry.isFile()) files.push(below);
      else if (entry.isDirectory() && depth < maxDepth && (await walk(below, depth + 1)))
        return true;
    }
    return false;
  };
  const isCut = await walk(directory, 0);
  return { files, isCut };
}

async function entriesOf(path: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/** The key in a file, why it cannot be used, or undefined for a file without a private key. */
async function readKey(file: string): Promise<PrivateKey | string | undefined> {
  try {
    // A file may have become a link or a named pipe since it was listed.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    await using handle = await open(file, flags);
    const info = await handle.stat();
    if (!info.isFile()) return "is not a file";
    if (info.size > maxKeyBytes) return `has more than ${maxKeyBytes} bytes`;
    const found = keyIn(await readAll(handle));
    if (found === undefined || typeof found === "string") return found;
    return looseness(info) ?? { file, ...found };
  } catch (cause) {
    return errnoCode(cause) === "ENOENT" ? undefined : `cannot be read: ${messageOf(cause)}`;
  }
}

async function readAll(handle: FileHandle): Promise<Buffer> {
  const bytes = Buffer.alloc(maxKeyBytes);
  const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
  return bytes.subarray(0, bytesRead);
}

function looseness({ mode, uid }: Stats): string | undefined {
  if (uid !== geteuid?.()) return `belongs to user ${uid}: chown it to root`;
  if ((mode & 0o077) === 0) return undefined;
  return `has mode ${(mode & 0o7777).toString(8).padStart(4, "0")}: chmod it to 0600`;
}

interface FoundKey {
  readonly key: KeyObject;
  readonly id: string;
}

function keyIn(bytes: Buffer): FoundKey | string | undefined {
  const text = bytes.toString("latin1");
  if (text.includes("-----BEGIN ")) return pemKey(text);
  if (/^\s*\{/.test(text)) return jwkOf(text);
  for (const type of ["pkcs8", "pkcs1", "sec1"] as const) {
    const key = parsed(() => createPrivateKey({ key: bytes, format: "der", type }));
    if (typeof key !== "string") return usable({ key, id: "" });
  }
  return undefined;
}

function pemKey(text: string): FoundKey | string | undefined {
  if (!/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text)) return undefined;
  if (/ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(text)) {
    return "has a passphrase: store it without one, readable by root only";
  }
  const key = parsed(() => createPrivateKey(text));
  return typeof key === "string" ? key : usable({ key, id: "" });
}

function jwkOf(text: string): FoundKey | string | undefined {
  let jwk: JsonWebKey;
  try {
    jwk = JSON.parse(text) as JsonWebKey;
  } catch {
    return undefined;
  }
  // A public key, or another file of JSON.
  if (typeof jwk.kty !== "string" || typeof jwk.d !== "string") return undefined;
  const key = parsed(() => createPrivateKey({ key: jwk, format: "jwk" }));
  const id = jwk["kid"];
  return typeof key === "string" ? key : usable({ key, id: typeof id === "string" ? id : "" });
}

function parsed(parse: () => KeyObject): KeyObject | string {
  try {
    return parse();
  } catch {
    // Errors of OpenSSL say nothing that helps here.
    return "is not a private key that can be read";
  }
}

const curves = ["prime256v1", "secp384r1", "secp521r1"];

function usable(found: FoundKey): FoundKey | string {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = found.key;
  if (type === "rsa") {
    const bits = details?.modulusLength ?? 0;
    return bits >= minRsaBits
      ? found
      : `is an RSA key of ${bits} bits: at least ${minRsaBits} are needed`;
  }
  const curve = details?.namedCurve ?? "";
  if (type === "ec" && curves.includes(curve)) return found;
  return `is a key of type ${[type, curve].join(" ").trim()}: RSA and the curves P-256, P-384 and P-521 are supported`;
}
