import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import type { AttachedClient, Container } from "../../core/container/index.ts";
import type {
  AttachRequest,
  ClientStreams,
  ExecEnd,
  ExecRequest,
  StreamTargets,
} from "../../core/streaming/index.ts";
import { type ContainerContext, runtimeOf } from "../container/index.ts";
import type { SandboxContext } from "../sandbox/index.ts";
import { execInContainer } from "./exec.ts";
import { readySandbox } from "./requests.ts";
import { runInContainer } from "./run-in-container.ts";

/** The time limit for a connection to a port, in milliseconds. */
const connectMs = 30_000;

/**
 * Connects to a TCP port on the loopback of a network namespace (undefined: the host's), IPv4 first.
 * `unavailable` when the port is closed.
 */
export type PodConnector = (
  netnsPath: string | undefined,
  port: number,
  signal: AbortSignal,
) => Promise<Duplex>;

/** Connects clients to commands, containers and ports. Each is an operation with stages. */
export class EngineTargets implements StreamTargets {
  readonly #containers: ContainerContext;
  readonly #sandboxes: SandboxContext;
  readonly #connect: PodConnector;

  constructor(deps: {
    readonly containers: ContainerContext;
    readonly sandboxes: SandboxContext;
    readonly connect: PodConnector;
  }) {
    this.#containers = deps.containers;
    this.#sandboxes = deps.sandboxes;
    this.#connect = deps.connect;
  }

  exec(request: ExecRequest, streams: ClientStreams, signal: AbortSignal): Promise<ExecEnd> {
    return execInContainer(this.#containers, request, streams, signal);
  }

  async attach(request: AttachRequest, streams: ClientStreams, signal: AbortSignal): Promise<void> {
    const context = this.#containers;
    const plan = { name: "attach", containerId: request.containerId, signal } as const;
    await runInContainer(context, plan, async (container, operation) => {
      const { tty: terminal } = container.config;
      const client = { streams, terminal, stdin: stdinOf(container) };
      try {
        await runtimeOf(context, container).attach(container.id, client, operation);
      } catch (error) {
        // The client disconnected, which is not an error.
        if (!signal.aborted) throw error;
        return;
      }
      await operation.enter("answer");
    });
  }

  async connect(sandboxId: string, port: number, signal: AbortSignal): Promise<Duplex> {
    const { id, netnsPath } = readySandbox(this.#sandboxes, sandboxId);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      const text = `forward to sandbox "${id}": a port must be from 1 to 65535, got ${port}`;
      throw new RuntimeError("invalid-argument", text);
    }
    const { operations } = this.#sandboxes;
    const log = this.#sandboxes.log.with({ sandbox: id });
    const plan = { name: "port-forward", subject: id, timeoutMs: connectMs, log } as const;
    return operations.run(plan, async (operation) => {
      using _caller = operation.follow(signal);
      await operation.enter("connect");
      const connection = await this.#connect(netnsPath, port, operation.signal);
      try {
        await operation.enter("answer");
      } catch (error) {
        connection.destroy();
        throw error;
      }
      return connection;
    });
  }
}

function stdinOf({ config }: Container): AttachedClient["stdin"] {
  if (!config.stdin) return "none";
  return config.stdinOnce ? "once" : "open";
}
