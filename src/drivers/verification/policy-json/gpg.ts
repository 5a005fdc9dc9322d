import { chown, mkdir, mkdtemp, readdir, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import type { RunResult } from "../../../linux/process/index.ts";
import { isMissing, readOwn } from "./bounded-file.ts";
import { type GpgAnswer, importedKeys, readGpgStatus } from "./gpg-status.ts";
import { firstLine, here, runUnprivileged, someUser } from "./unprivileged.ts";

/** A signed text is a small JSON document. What is larger, also after gpg has uncompressed it, is refused. */
const maxTextBytes = 64 * 1024;
// Neither the configuration of this machine, nor agents, nor the network.
const gpgOptions = [
  "--no-options",
  "--batch",
  "--no-tty",
  "--no-autostart",
  "--disable-dirmngr",
  "--no-auto-key-retrieve",
  "--no-auto-key-import",
  "--no-auto-check-trustdb",
  "--trust-model=always",
  "--status-fd=1",
];

/** A signed text with the fingerprint of its key, or why the signature does not count. */
export type SignedText =
  | { readonly text: string; readonly signer: string; readonly reason?: undefined }
  | { readonly reason: string };

/**
 * The gpg of this machine with keys of its own, in a private directory that disposal removes. It runs as a
 * user without rights, because what it reads is from the network. No other program has that user, and none of an
 * earlier run lives, so that nothing else changes the files. Still, davit writes no file where gpg can write, and
 * follows no link there.
 */
export class Gpg implements AsyncDisposable {
  readonly #home: string;
  readonly #user = someUser();
  #trusted: readonly string[] = [];

  private constructor(home: string) {
    this.#home = home;
  }

  /**
   * Imports keyrings, binary or armored. `failed-precondition` where gpg is not installed or finds no key
   * in them; `deadline-exceeded` when it does not end in time.
   */
  static async open(
    keyrings: readonly Uint8Array[],
    options: { readonly directory: string; readonly signal: AbortSignal },
  ): Promise<Gpg> {
    await mkdir(options.directory, { recursive: true, mode: 0o711 });
    const home = await mkdtemp(join(options.directory, "gpg-"));
    const gpg = new Gpg(home);
    try {
      await chown(home, gpg.#user, gpg.#user);
      await gpg.#import(keyrings, options.signal);
      return gpg;
    } catch (error) {
      await gpg[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Verifies a signed message in binary form (containers-signature(5)): no text of the clear-text or armored form,
   * and no detached signature. Rejects as {@link open}.
   */
  async verify(signature: Uint8Array, signal: AbortSignal): Promise<SignedText> {
    // Each packet of OpenPGP begins with this bit (RFC 9580, 4.2), and no text that gpg also reads does.
    if (((signature[0] ?? 0) & 0x80) === 0) {
      return { reason: "it is not a signed message in the binary form of OpenPGP" };
    }
    const output = join(this.#home, "text");
    await removeFile(output);
    const args = [`--max-output=${maxTextBytes}`, "--output=text", "--verify"];
    const result = await this.#run(args, signature, signal);
    const answer: GpgAnswer = readGpgStatus(result.stdout.toString("utf8"));
    if (answer.signer === undefined) return answer;
    if (result.code !== 0) return { reason: "gpg does not accept it" };
    if (!this.#trusted.includes(answer.signer)) {
      return { reason: `it is signed by the key ${answer.signer}, which is not trusted` };
    }
    const text = await readOwn(output, maxTextBytes);
    return { text: text.toString("utf8"), signer: answer.signer };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const name of await readdir(this.#home)) await unlink(join(this.#home, name));
      await rmdir(this.#home);
    } catch {
      // A few small files stay until the next boot.
    }
  }

  async #import(keyrings: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    const found: string[] = [];
    let said = "";
    for (const keyring of keyrings) {
      const { stdout, stderr } = await this.#run(["--import"], keyring, signal);
      found.push(...importedKeys(stdout.toString("utf8")));
      said = firstLine(stderr);
    }
    this.#trusted = found;
    if (found.length > 0) return;
    throw new RuntimeError("failed-precondition", `import keys with gpg: it found no key: ${said}`);
  }

  #run(args: readonly string[], input: Uint8Array, signal: AbortSignal): Promise<RunResult> {
    const all = [`--homedir=${here}`, ...gpgOptions, ...args];
    const [cwd, user] = [this.#home, this.#user];
    return runUnprivileged({ name: "gpg", package: "gnupg", args: all, user, cwd, input, signal });
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
  }
}
