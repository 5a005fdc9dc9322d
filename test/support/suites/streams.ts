/** What the suites of streaming share: clients of exec, attach and port-forward, over either transport. */
import assert from "node:assert/strict";
import {
  openPortForward,
  openRemoteCommand,
  type PortForward,
  type RemoteCommand,
} from "../../../src/client/streaming/index.ts";
import type { TestDaemon } from "../daemon.ts";
import { until } from "./pods.ts";

/** How a client's connection leaves HTTP. */
export type Transport = "spdy" | "websocket";
export const transports: readonly Transport[] = ["spdy", "websocket"];

/** What a client wants of a process. */
export interface Wish {
  readonly transport?: Transport;
  readonly terminal?: boolean;
  readonly stdin?: boolean;
  /** False to count bytes only. */
  readonly keeps?: boolean;
}

/** A client at a process, and what it was sent. */
export class StreamClient {
  stdout = "";
  stderr = "";
  bytes = 0;
  readonly remote: RemoteCommand;
  /** When both outputs are at their end. */
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

  /** The exit code, after all output has come. */
  async exitCode(): Promise<number> {
    const end = await this.remote.end;
    await this.drained;
    assert.ok("exitCode" in end, `it failed: ${JSON.stringify(end)}`);
    return end.exitCode;
  }

  /** Why it could not be run. */
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

/** The streams of a wish, as the RPC and as the client name them. */
function streamsOf({ terminal = false, stdin = true }: Wish) {
  return { stdin, stdout: true, stderr: !terminal };
}

async function connect(url: string, wish: Wish): Promise<StreamClient> {
  const { transport = "spdy", terminal = false, keeps = true } = wish;
  const options = { ...streamsOf(wish), terminal, transport };
  return new StreamClient(await openRemoteCommand(url, options), keeps);
}

/** Runs a command with a client at its streams. */
export async function openExec(
  daemon: TestDaemon,
  containerId: string,
  cmd: readonly string[],
  wish: Wish = {},
): Promise<StreamClient> {
  const request = { containerId, cmd: [...cmd], tty: wish.terminal ?? false, ...streamsOf(wish) };
  const { url } = await daemon.client.runtime.exec(request);
  return connect(url, wish);
}

/** Joins a container's streams. */
export async function openAttach(
  daemon: TestDaemon,
  containerId: string,
  wish: Wish = {},
): Promise<StreamClient> {
  const request = { containerId, tty: wish.terminal ?? false, ...streamsOf(wish) };
  const { url } = await daemon.client.runtime.attach(request);
  return connect(url, wish);
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
