import process from "node:process";
import { messageOf } from "../base/errors.ts";
import { withinTimeLimit } from "../base/time-limit.ts";
import { enterConfinement } from "../linux/process/index.ts";
import { checkSignatures } from "./check.ts";
import type { CheckAnswer, CheckRequest } from "./protocol.ts";

const maxRequestBytes = 64 * 1024 * 1024;

/**
 * Reads a request from stdin and writes the answer to stdout. Before the first byte of the request, the process
 * gives up its files and its privileges.
 */
export async function runVerifier(): Promise<number> {
  warmUp();
  enterConfinement("nobody");
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
  withinTimeLimit(1000, () => undefined);
  checkSignatures({ digests: [], trust, signatures: [] });
  checkSignatures({
    digests: [],
    trust: { ...trust, keys: [] },
    signatures: [{ kind: "bundle", json: "{}", artifact: "" }],
  });
}
