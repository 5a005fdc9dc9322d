/** Helpers for the suites of streaming: clients of exec, attach and port-forward, over both transports. */
import assert from "node:assert/strict";
import {
  openPortForward,
  openRemoteCommand,
  type PortForward,
  type RemoteCommand,
} from "../../../src/client/streaming/index.ts";
import type { TestDaemon } from "../daemon.ts";
import { until } from "./pods.ts";

/** The protocol that a client's connection is upgraded to. */
export type Transport = "spdy" | "websocket";
export const transports: readonly Transport[] = ["spdy", "websocket"];

/** The streams that a client requests, and how it connects. */
interface StreamOptions {
  readonly transport?: Transport;
  readonly terminal?: boolean;
  readonly stdin?: boolean;
  /** False to count bytes only. */
  readonly keeps?: boolean;
  /** Variables of the command. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A client of a process, with the output that it received. */
class StreamClient {
  stdout = "";
  stderr = "";
  bytes = 0;
  readonly remote: RemoteCommand;
  /** Resolves when both outputs have ended. */
  readonly drained: Promise<unknown>;

  constructor(remote: RemoteCommand, keeps: boolean) {
    this.remote = remote;
    remote.end.catch(() => undefined);
    const collect = async (name: "stdout" | "stderr"): Promise<void> => {
      try {
        for await (const chunk of remote[name] ?? []) {
          this.bytes += (chunk as Buffer).length;
          if (keeps) this[name] += String(chunk);
        }
      } catch {
        // The connection is lost: the end says so.
      }
    };
    this.drained = Promise.all([collect("stdout"), collect("stderr")]);
  }

  /** The exit code, after all output has been received. */
  async exitCode(): Promise<number> {
    const end = await this.remote.end;
    await this.drained;
    assert.ok("exitCode" in end, `it failed: ${JSON.stringify(end)}`);
    return end.exitCode;
  }

  /** The reason that the process could not be started. */
  async failure(): Promise<string> {
    const end = await this.remote.end;
    assert.ok("failure" in end, `it did not fail: ${JSON.stringify(end)}`);
    return end.failure;
  }

  type(text: string): void {
    assert.ok(this.remote.stdin !== undefined);
    this.remote.stdin.write(text);
  }

  async says(text: string | RegExp): Promise<void> {
    await until(`it says ${String(text)}`, () =>
      typeof text === "string" ? this.stdout.includes(text) : text.test(this.stdout),
    );
  }
}

/** The streams that the options request, as the RPC and the client name them. */
function streamsOf({ terminal = false, stdin = true }: StreamOptions) {
  return { stdin, stdout: true, stderr: !terminal };
}

async function connect(url: string, options: StreamOptions): Promise<StreamClient> {
  const { transport = "spdy", terminal = false, keeps = true } = options;
  const streams = { ...streamsOf(options), terminal, transport };
  return new StreamClient(await openRemoteCommand(url, streams), keeps);
}

/** Runs a command with a client at its streams. */
export async function openExec(
  daemon: TestDaemon,
  containerId: string,
  cmd: readonly string[],
  options: StreamOptions = {},
): Promise<StreamClient> {
  const request = {
    containerId,
    cmd: [...cmd],
    tty: options.terminal ?? false,
    envs: Object.entries(options.env ?? {}).map(([key, value]) => ({
      key,
      value: Buffer.from(value),
    })),
    ...streamsOf(options),
  };
  const { url } = await daemon.client.runtime.exec(request);
  return connect(url, options);
}

/** Joins a container's streams. */
export async function openAttach(
  daemon: TestDaemon,
  containerId: string,
  options: StreamOptions = {},
): Promise<StreamClient> {
  const request = { containerId, tty: options.terminal ?? false, ...streamsOf(options) };
  const { url } = await daemon.client.runtime.attach(request);
  return connect(url, options);
}

/** A session for connections to ports of a pod. */
export async function openForward(
  daemon: TestDaemon,
  podSandboxId: string,
  transport: Transport = "spdy",
): Promise<PortForward> {
  const { url } = await daemon.client.runtime.portForward({ podSandboxId });
  return openPortForward(url, { transport });
}
