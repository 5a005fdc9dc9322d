import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

import { kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { Semaphore } from "../../base/semaphore.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import {
  formatReference,
  type ImageToVerify,
  type ImageVerifier,
  type SignatureSource,
  type Verdict,
} from "../../core/image/index.ts";
import { run, type RunResult } from "../../linux/process/index.ts";

/** As in containerd: what a program prints beyond this is read and dropped. */
const maxOutputBytes = 32 * 1024;
const maxReasonCharacters = 1024;
const maxLoggedLines = 100;
/** How many programs run at once, for all images together. */
const maxRunning = 4;

export interface BindirOptions {
  readonly directory: string;
  /** With more programs in the directory, every image is rejected. */
  readonly maxVerifiers: number;
  /** Time of one program. */
  readonly timeoutMs: number;
  /** The daemon's environment: programs get its PATH, HOME, certificates and proxies. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
}

const passed = [
  "PATH",
  "HOME",
  "LANG",
  "TMPDIR",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "HTTPS_PROXY",
  "HTTP_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
];

/**
 * Programs that verify images, as for containerd's `bindir` verifier (docs/image-verification.md there): each file
 * of a directory is called with the name and the digest of an image and accepts it by exit code 0. A directory
 * that is missing or empty accepts all images, as there.
 */
export class BindirVerifier implements ImageVerifier {
  readonly name = "bindir";
  readonly #options: BindirOptions;
  readonly #env: Readonly<Record<string, string>>;
  readonly #running = new Semaphore(maxRunning);
  #hasWarned = false;

  constructor(options: BindirOptions) {
    this.#options = options;
    this.#env = environmentOf(options.env);
  }

  async generation(): Promise<string> {
    const files = await this.#files();
    return createHash("sha256").update(JSON.stringify(files)).digest("hex");
  }

  /** The verdict where there is no program, so that no registry is asked for the digests of an image. */
  async decideByName(): Promise<Verdict | undefined> {
    let files: readonly VerifierFile[];
    try {
      files = await this.#files();
    } catch {
      return undefined; // verify() says why.
    }
    return files.length === 0 ? this.#none() : undefined;
  }

  async acceptsEveryName(): Promise<boolean> {
    return (await this.#files()).length === 0;
  }

  /**
   * Calls the programs by their names' order until one rejects the image. `deadline-exceeded` for a program
   * that hangs, `failed-precondition` for one that cannot be started or dies by a signal.
   */
  async verify(
    image: ImageToVerify,
    _source: SignatureSource,
    signal: AbortSignal,
  ): Promise<Verdict> {
    const { directory, maxVerifiers } = this.#options;
    const files = await this.#files();
    const policy = this.#policy;
    if (files.length === 0) return this.#none();
    if (files.length > maxVerifiers) {
      throw new RuntimeError(
        "failed-precondition",
        `verify "${formatReference(image.reference)}": ${policy} has ${files.length} programs, more than ${maxVerifiers}; remove some, or raise images.verification.max_verifiers`,
      );
    }
    const reasons: string[] = [];
    for (const { name, mode } of files) {
      const { code, reason } = await this.#call({ name, mode }, image, signal);
      if (code !== 0) {
        const why = `"${name}" rejects ${image.target.digest} (exit code ${code}): ${reason}`;
        const next = `sign the image, or change what "${join(directory, name)}" accepts`;
        return { decision: "rejected", policy, reason: `${why}; ${next}`, signatures: [] };
      }
      reasons.push(`${name} => ${reason}`);
    }
    return { decision: "accepted", policy, reason: reasons.join(", "), signatures: [] };
  }

  get #policy(): string {
    return `bindir "${this.#options.directory}"`;
  }

  #none(): Verdict {
    const policy = this.#policy;
    const reason = "the directory is missing or empty, so no program was asked";
    if (!this.#hasWarned) {
      this.#options.log.warn("images are accepted without verification", { policy, reason });
      this.#hasWarned = true;
    }
    return { decision: "none", policy, reason, signatures: [] };
  }

  async #call(
    { name, mode }: { readonly name: string; readonly mode: number },
    { reference, target }: ImageToVerify,
    signal: AbortSignal,
  ): Promise<{ readonly code: number; readonly reason: string }> {
    const { directory, timeoutMs } = this.#options;
    const file = join(directory, name);
    const doing = `verify "${formatReference(reference)}" with "${file}"`;
    if ((mode & 0o002) !== 0) {
      const why = `every user of this node can change it; run chmod o-w "${file}"`;
      throw new RuntimeError("failed-precondition", `${doing}: ${why}`);
    }
    const { mediaType, digest, sizeBytes } = target;
    const descriptor = { mediaType, digest, size: Number(sizeBytes) };
    const mediaTypeOfInput = "application/vnd.oci.descriptor.v1+json";
    let result: RunResult;
    {
      using _turn = await this.#running.acquire(signal);
      result = await run({
        file,
        args: [
          "-name",
          formatReference(reference),
          "-digest",
          digest,
          "-stdin-media-type",
          mediaTypeOfInput,
        ],
        env: this.#env,
        input: `${JSON.stringify(descriptor)}\n`,
        timeoutMs,
        maxOutputBytes: maxOutputBytes + 1,
        killGroup: true,
        signal,
      }).catch((error: unknown) => {
        throw cannotRun(doing, error, timeoutMs);
      });
    }
    this.#logErrors(name, result.stderr);
    if (result.code === null) {
      const why = `it was ended by signal ${result.signal}`;
      throw new RuntimeError("failed-precondition", `${doing}: ${why}`);
    }
    return { code: result.code, reason: reasonOf(result.stdout) };
  }

  /** As in containerd, the log of the daemon has what the programs print on stderr, at debug level. */
  #logErrors(name: string, stderr: Buffer): void {
    const lines = stderr.subarray(0, maxOutputBytes).toString("utf8").split("\n");
    for (const line of lines.slice(0, maxLoggedLines)) {
      if (line === "") continue;
      this.#options.log.debug("image verifier", { image_verifier: name, stderr: oneLine(line) });
    }
  }

  async #files(): Promise<readonly VerifierFile[]> {
    const { directory } = this.#options;
    let names: string[];
    try {
      names = await readdir(directory);
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return [];
      throw systemError(`read "${directory}"`, cause);
    }
    return Promise.all(names.sort().map((name) => fileOf(directory, name)));
  }
}

interface VerifierFile {
  readonly name: string;
  readonly mode: number;
  /** Changes with the file. */
  readonly state: string;
}

async function fileOf(directory: string, name: string): Promise<VerifierFile> {
  const path = join(directory, name);
  try {
    const info = await stat(path, { bigint: true });
    const { dev, ino, mode, size, mtimeNs, ctimeNs } = info;
    return { name, mode: Number(mode), state: [dev, ino, size, mtimeNs, ctimeNs].join(" ") };
  } catch (cause) {
    throw systemError(`find the image verifier "${path}"`, cause);
  }
}

function cannotRun(doing: string, error: unknown, timeoutMs: number): unknown {
  const kind = kindOf(error);
  if (kind === "canceled") return error;
  if (kind !== "deadline-exceeded") {
    return new RuntimeError("failed-precondition", `${doing}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const why = `it did not end within ${timeoutMs / 1000} s and was killed`;
  const next = "see why it hangs, or raise images.verification.bindir_timeout_seconds";
  return new RuntimeError("deadline-exceeded", `${doing}: ${why}; ${next}`, { cause: error });
}

function reasonOf(stdout: Buffer): string {
  const text = oneLine(stdout.subarray(0, maxOutputBytes).toString("utf8"));
  const isCut = stdout.length > maxOutputBytes || text.length > maxReasonCharacters;
  if (text === "") return "it gives no reason";
  return isCut ? `${text.slice(0, maxReasonCharacters)}... (truncated)` : text;
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ").trim();
}

function environmentOf(
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const names = passed.flatMap((name) => [name, name.toLowerCase()]);
  const entries = names.flatMap((name) => {
    const value = env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { HOME: "/root", PATH: "/usr/local/bin:/usr/bin:/bin", ...Object.fromEntries(entries) };
}
