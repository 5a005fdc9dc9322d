import { get } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { valueWithin } from "../base/wait.ts";
import { describeEnd } from "../client/pods/run-pod.ts";
import { ContainerState } from "../gen/runtime/v1/api_pb.ts";
import type { Ready } from "./api/options.ts";
import { DavitError } from "./errors.ts";
import { invalid } from "./explain.ts";
import { statusOf } from "./ended.ts";
import { type CommandTarget, execBytes } from "./exec.ts";
import { forward, openSession } from "./forward.ts";
import { lastLines, logs } from "./logs.ts";

/** What is waited for. */
export interface ReadyRequest {
  readonly ready: Ready;
  readonly timeoutMs: number;
  readonly target: CommandTarget;
  readonly pod: { readonly id: string; readonly path: string; readonly address: string };
  readonly signal: AbortSignal | undefined;
}

const defaultTimeoutMs = 60_000;
const pollMs = 50;
const stateMs = 100;
const attemptMs = 2_000;
/** How long a refusal by the pod takes at most to arrive over an open session. */
const refusalMs = 200;
const tailLines = 12;
/** Characters of a line in several parts that are looked at. */
const maxLineLength = 64 * 1024;

/** Rejects a condition that can never be met. */
export function checkReady(ready: Ready | undefined): void {
  if (ready === undefined) return;
  const isKnown =
    ("port" in ready && isPort(ready.port)) ||
    ("log" in ready && ready.log instanceof RegExp) ||
    ("command" in ready && ready.command.length > 0);
  if (isKnown && (!("http" in ready) || ready.http.startsWith("/"))) return;
  throw invalid(
    'run a container: option ready must be { port }, { http: "/path", port }, { log: /text/ } or { command: [...] }',
  );
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/**
 * Waits until a container is ready.
 *
 * @throws DavitError `ended` with the end of its log when it ends before, `deadline` when that takes too long
 */
export async function untilReady(request: ReadyRequest): Promise<void> {
  const { target, timeoutMs, signal } = request;
  const what = `wait until container "${target.path}" is ready`;
  const stop = new AbortController();
  const ends = AbortSignal.any([stop.signal, ...(signal === undefined ? [] : [signal])]);
  const late = setTimeout(() => {
    stop.abort(new DavitError("deadline", `${what}: it is not after ${timeoutMs} ms`));
  }, timeoutMs);
  late.unref();
  try {
    await Promise.race([
      isReady(request, ends),
      rejectWhenEnded(target, ends),
      rejectWhenAborted(ends),
    ]);
  } catch (error) {
    if (signal?.aborted === true) throw target.connection.explain(what, error, signal);
    if (error instanceof DavitError && error.kind === "deadline")
      throw await withLog(error, target);
    throw target.connection.explain(what, error);
  } finally {
    clearTimeout(late);
    stop.abort();
  }
}

/** How long `untilReady` waits: `given`, else the default. */
export function readyTimeout(given: number | undefined): number {
  return given ?? defaultTimeoutMs;
}

async function isReady(request: ReadyRequest, signal: AbortSignal): Promise<void> {
  const { ready, target } = request;
  if ("log" in ready) {
    const begun = { stdout: "", stderr: "" };
    for await (const { stream, text, partial } of logs(target, { follow: true, signal })) {
      const line = begun[stream] + text;
      // A regular expression with the flag g continues where it matched last.
      ready.log.lastIndex = 0;
      if (ready.log.test(line)) return;
      begun[stream] = partial ? line.slice(-maxLineLength) : "";
    }
    // The log has ended with the container, which is reported elsewhere.
    await new Promise(() => undefined);
    return;
  }
  if ("command" in ready) {
    await poll(signal, async () => {
      const options = { signal: AbortSignal.any([signal, AbortSignal.timeout(30_000)]) };
      return (await execBytes(target, ready.command, options)).exitCode === 0;
    });
    return;
  }
  if (request.pod.address !== "") {
    const { address } = request.pod;
    await poll(signal, () => check(ready, address, ready.port));
    return;
  }
  await readyWithoutAddress(request, ready, signal);
}

/** A pod with the host's network is reached at the loopback; others only by forwarding. */
async function readyWithoutAddress(
  { target, pod }: ReadyRequest,
  ready: Extract<Ready, { readonly port: number }>,
  signal: AbortSignal,
): Promise<void> {
  const { connection } = target;
  if ("http" in ready) {
    await using local = await forward(connection, pod, ready.port);
    await poll(signal, () => check(ready, "127.0.0.1", local.port));
    return;
  }
  const session = await openSession(connection, pod.id, `reach pod "${pod.path}"`);
  try {
    await poll(signal, async () => {
      const { data, failure } = await session.connect(ready.port);
      data.on("error", () => undefined);
      // The pod tells a refusal, but not a success.
      const refusal = await valueWithin(
        failure.then((text) => text ?? "closed"),
        refusalMs,
        signal,
      );
      data.destroy();
      return refusal === undefined;
    });
  } finally {
    session.close();
  }
}

async function poll(signal: AbortSignal, isMet: () => Promise<boolean>): Promise<void> {
  while (!signal.aborted) {
    if (await isMet().catch(() => false)) return;
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
}

async function check(
  ready: Extract<Ready, { readonly port: number }>,
  host: string,
  port: number,
): Promise<boolean> {
  return "http" in ready ? await answers(ready, host, port) : await connects(host, port);
}

function connects(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: attemptMs });
    const end = (result: boolean) => (): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", end(true)).once("error", end(false)).once("timeout", end(false));
  });
}

function answers(
  { http: path, status }: Extract<Ready, { readonly http: string }>,
  host: string,
  port: number,
): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host, port, path, agent: false, timeout: attemptMs }, (response) => {
      response.resume();
      const code = response.statusCode ?? 0;
      resolve(status === undefined ? code >= 200 && code < 400 : code === status);
      request.destroy();
    });
    request.once("error", () => resolve(false));
    request.once("timeout", () => request.destroy());
  });
}

async function rejectWhenEnded(target: CommandTarget, signal: AbortSignal): Promise<never> {
  for (;;) {
    await sleep(stateMs, undefined, { signal });
    const status = await statusOf(target, signal);
    if (status.state === ContainerState.CONTAINER_RUNNING) continue;
    const log = await lastLines(target, tailLines);
    throw new DavitError("ended", `container "${target.path}" ${describeEnd(status, log)}`);
  }
}

function rejectWhenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

async function withLog(error: DavitError, target: CommandTarget): Promise<DavitError> {
  const log = await lastLines(target, tailLines);
  const end =
    log.length === 0
      ? "; its log is empty"
      : `; the end of its log:\n${log.map((line) => `  ${line}`).join("\n")}`;
  return new DavitError(error.kind, `${error.message}${end}`);
}
