import { create } from "@bufbuild/protobuf";
import { AnySchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import {
  type ControllerStatus,
  controllerNotReady,
  type Sandbox,
} from "../../../core/sandbox/index.ts";
import type { Metric } from "../../../gen/containerd/types/metrics_pb.ts";
import type { Platform } from "../../../gen/containerd/types/platform_pb.ts";
import { Sandbox as SandboxService } from "../../../gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import {
  PodSandboxConfigSchema,
  RunPodSandboxRequestSchema,
} from "../../../gen/runtime/v1/api_pb.ts";
import { embeddedMessage } from "../../../wire/protobuf.ts";
import type { TtrpcCallOptions, TtrpcClient } from "../../../wire/ttrpc/index.ts";
import { callMs } from "../process/task-client.ts";
import { namespace } from "../process/shim-binary.ts";

const metadata = { "containerd-namespace-ttrpc": namespace };
/** How much longer than its own timeout a sandboxer may take to answer a stop. */
const graceMs = 2_000;

/** Calls of a sandboxer: containerd.runtime.sandbox.v1.Sandbox. */
export class SandboxClient {
  readonly #client: TtrpcClient;

  constructor(client: TtrpcClient) {
    this.#client = client;
  }

  /** Passes the client's configuration and the pod's network namespace. */
  async create(sandbox: Sandbox, bundlePath: string, options: TtrpcCallOptions): Promise<void> {
    const { id, config, requestBytes, netnsPath = "" } = sandbox;
    // The client's own bytes: a sandboxer may know fields that davit does not.
    const value = embeddedMessage(requestBytes, RunPodSandboxRequestSchema.field.config.number);
    await this.#client.call(
      SandboxService.method.createSandbox,
      {
        sandboxId: id,
        bundlePath,
        netnsPath,
        options: create(AnySchema, { typeUrl: PodSandboxConfigSchema.typeName, value }),
        annotations: config.annotations,
      },
      { metadata, ...options },
    );
  }

  /** The process that represents the sandbox, 0 for none, and the time of its creation by the sandboxer. */
  async start(
    sandboxId: string,
    options: TtrpcCallOptions,
  ): Promise<{ readonly pid: number; readonly createdAtNs: bigint | undefined }> {
    const { startSandbox } = SandboxService.method;
    const answer = await this.#client.call(startSandbox, { sandboxId }, { metadata, ...options });
    return { pid: answer.pid, createdAtNs: nanoseconds(answer.createdAt) };
  }

  /** The platform of the sandbox; undefined if the sandboxer does not report it. */
  async platform(sandboxId: string, options: TtrpcCallOptions): Promise<Platform | undefined> {
    const { platform } = SandboxService.method;
    const answer = await this.#client.call(platform, { sandboxId }, { metadata, ...options });
    return answer.platform;
  }

  /** The usage of the sandbox; undefined if the sandboxer does not report it. */
  async metrics(sandboxId: string, options: TtrpcCallOptions): Promise<Metric | undefined> {
    const { sandboxMetrics } = SandboxService.method;
    const answer = await this.#client.call(sandboxMetrics, { sandboxId }, { metadata, ...options });
    return answer.metrics;
  }

  async status(
    sandboxId: string,
    verbose: boolean,
    signal: AbortSignal,
  ): Promise<ControllerStatus> {
    const request = { sandboxId, verbose };
    const { sandboxStatus } = SandboxService.method;
    const answer = await this.#client.call(sandboxStatus, request, { metadata, signal });
    return {
      state: answer.state === "" ? controllerNotReady : answer.state,
      pid: answer.pid,
      createdAtNs: nanoseconds(answer.createdAt),
      info: Object.fromEntries(
        Object.entries(answer.info).map(([name, text]) => [name, jsonOrText(text)]),
      ),
    };
  }

  /** Resolves when the sandbox has ended. */
  async wait(
    sandboxId: string,
    signal: AbortSignal,
  ): Promise<{ readonly exitCode: number; readonly exitedAtNs: bigint | undefined }> {
    const { waitSandbox } = SandboxService.method;
    const answer = await this.#client.call(waitSandbox, { sandboxId }, { metadata, signal });
    return { exitCode: answer.exitStatus, exitedAtNs: nanoseconds(answer.exitedAt) };
  }

  async stop(sandboxId: string, timeoutSecs: number): Promise<void> {
    const { stopSandbox } = SandboxService.method;
    const timeoutMs = timeoutSecs * 1000 + graceMs;
    await this.#client.call(stopSandbox, { sandboxId, timeoutSecs }, { metadata, timeoutMs });
  }

  async shutdown(sandboxId: string): Promise<void> {
    const { shutdownSandbox } = SandboxService.method;
    await this.#client.call(shutdownSandbox, { sandboxId }, { metadata, timeoutMs: callMs });
  }
}

/** Undefined for a time that is absent or not after 1970: some sandboxers send their language's zero time. */
function nanoseconds(time: Timestamp | undefined): bigint | undefined {
  if (time === undefined || time.seconds <= 0n) return undefined;
  return time.seconds * 1_000_000_000n + BigInt(time.nanos);
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
