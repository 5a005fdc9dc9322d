import { writeFileSync } from "node:fs";
import process from "node:process";
import { messageOf } from "../base/errors.ts";
import { enterRoot } from "../linux/file/index.ts";
import { checkSignatures } from "./check.ts";
import type { CheckAnswer, CheckRequest } from "./protocol.ts";

const maxRequestBytes = 64 * 1024 * 1024;
// The user nobody of most systems: no file of a node should be its own.
const nobody = 65_534;

/**
 * Reads a request from stdin and writes the answer to stdout. Before the first byte of the request, the process
 * gives up its files and its privileges: `directory` is an empty one, which becomes its root (chroot).
 */
export async function runVerifier([directory]: readonly string[]): Promise<number> {
  giveWayToPods();
  warmUp();
  if (directory !== undefined) enterRoot(directory);
  becomeNobody();
  const answer = await answerTo(process.stdin);
  const { promise, resolve } = Promise.withResolvers<undefined>();
  process.stdout.write(JSON.stringify(answer), () => resolve(undefined));
  await promise;
  return 0;
}

async function answerTo(input: AsyncIterable<Buffer>): Promise<CheckAnswer> {
  try {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of input) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxRequestBytes) return { error: "the request is too large" };
    }
    return checkSignatures(JSON.parse(Buffer.concat(chunks).toString("utf8")) as CheckRequest);
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** Node.js loads parts of itself when they are first used, and later there are no files. */
function warmUp(): void {
  process.stdin.pause();
  process.stdout.cork();
  process.stdout.uncork();
  const key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----";
  const trust = {
    keys: [{ name: "", text: key }],
    identities: [],
    trustedRoot: undefined,
    fulcioRoots: [],
    rekorKeys: [],
    ctKeys: [],
    transparencyLog: "auto",
    predicateTypes: [],
  } as const;
  checkSignatures({ digests: [], trust, signatures: [] });
  checkSignatures({
    digests: [],
    trust: { ...trust, keys: [] },
    signatures: [{ kind: "bundle", json: "{}", artifact: "" }],
  });
}

/** When memory is short, the kernel ends this process before pods (proc_pid_oom_score_adj(5)). */
function giveWayToPods(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "900");
  } catch {
    // Without /proc, as in tests of this program.
  }
}

function becomeNobody(): void {
  if (process.getuid?.() !== 0) return;
  process.setgroups?.([]);
  process.setgid?.(nobody);
  process.setuid?.(nobody);
}
