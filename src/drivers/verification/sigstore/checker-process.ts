import { RuntimeError } from "../../../base/errors.ts";
import { Semaphore } from "../../../base/semaphore.ts";
import type { FoundSignature } from "../../../core/image/index.ts";
import {
  findOwnProgram,
  keepText,
  type OwnProgram,
  SIGKILL,
  startOwnProgram,
} from "../../../linux/process/index.ts";
import type {
  CheckAnswer,
  CheckRequest,
  SignatureResult,
  SignatureToCheck,
} from "../../../verify/protocol.ts";
import type { SignatureChecker, SignaturesToCheck } from "./signature-checker.ts";

const maxAnswerBytes = 4 * 1024 * 1024;
const complaintBytes = 4096;
// Processes at once. Each takes 60 MB of memory.
const processes = 2;

/** How the process is run. */
interface CheckerOptions {
  readonly timeoutMs?: number;
  readonly command?: OwnProgram;
}

function defaultCommand(): OwnProgram {
  const files = { source: "verify/program.ts", bundle: "davit-verify.cjs" };
  return findOwnProgram("the verifier of signatures", files);
}

/** Runs the verifier, a process of its own without files and privileges, once for each question. */
export class CheckerProcess implements SignatureChecker {
  readonly #options: CheckerOptions;
  readonly #timeoutMs: number;
  readonly #turns = new Semaphore(processes);

  constructor(options: CheckerOptions = {}) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  async check(
    { digests, trust, signatures }: SignaturesToCheck,
    signal: AbortSignal,
  ): Promise<readonly SignatureResult[]> {
    using _turn = await this.#turns.acquire(signal);
    const request = { digests, trust, signatures: signatures.map(toCheck) };
    const answer = await this.#ask(request, signal);
    if ("error" in answer) {
      throw new RuntimeError("failed-precondition", `check signatures: ${answer.error}`);
    }
    if (answer.results.length === signatures.length) return answer.results;
    throw new RuntimeError("internal", "check signatures: the verifier did not answer for all");
  }

  async #ask(request: CheckRequest, signal: AbortSignal): Promise<CheckAnswer> {
    const program = this.#options.command ?? defaultCommand();
    const child = await startOwnProgram(program, [], { confinement: "nobody" });
    const late = AbortSignal.timeout(this.#timeoutMs);
    const kill = (): void => child.kill(SIGKILL);
    for (const end of [signal, late]) end.addEventListener("abort", kill, { once: true });
    if (signal.aborted) kill();
    try {
      child.stdin?.end(JSON.stringify(request));
      const [text, complaint] = await Promise.all([
        keepText(child.stdout, maxAnswerBytes),
        keepText(child.stderr, complaintBytes),
      ]);
      const { code, signal: by } = await child.exited;
      signal.throwIfAborted();
      if (late.aborted) {
        const seconds = this.#timeoutMs / 1000;
        const why = `check signatures: the verifier did not answer within ${seconds} s`;
        throw new RuntimeError("deadline-exceeded", why);
      }
      if (code === 0) return parseAnswer(text);
      const how = by === null ? `code ${String(code)}` : `signal ${by}`;
      const why = `check signatures: the verifier ended with ${how}: ${complaint.trim().slice(0, 500)}`;
      throw new RuntimeError("internal", why);
    } finally {
      for (const end of [signal, late]) end.removeEventListener("abort", kill);
      kill();
      await child.exited;
      child.stdin?.destroy();
      child.stdout?.destroy();
      child.stderr?.destroy();
    }
  }
}

function toCheck(found: FoundSignature): SignatureToCheck {
  if (found.kind === "bundle") {
    const { kind, json, artifact } = found;
    return { kind, json, artifact: Buffer.from(artifact ?? "").toString("base64") };
  }
  const { kind, payload, signature, certificate, chain, rekorBundle, timestamp } = found;
  const base64 = Buffer.from(payload).toString("base64");
  return { kind, payload: base64, signature, certificate, chain, rekorBundle, timestamp };
}

function parseAnswer(text: string): CheckAnswer {
  try {
    return JSON.parse(text) as CheckAnswer;
  } catch (cause) {
    const why = "check signatures: the answer of the verifier cannot be read";
    throw new RuntimeError("internal", why, { cause });
  }
}
