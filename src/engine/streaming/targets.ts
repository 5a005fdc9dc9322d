import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { maxTimerMs } from "../../base/time.ts";
import type { AttachedClient, Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type {
  AttachRequest,
  ClientStreams,
  ExecEnd,
  ExecRequest,
  StreamTargets,
} from "../../core/streaming/index.ts";
import {
  checkCommand,
  type ContainerContext,
  runningContainer,
  runtimeOf,
  execSubject,
} from "../container/index.ts";
import type { SandboxContext } from "../sandbox/index.ts";
import { readySandbox } from "./requests.ts";

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
    const { command, terminal, env } = request;
    return this.#run("exec", request.containerId, signal, async (container, operation) => {
      checkCommand(container.id, command);
      const context = this.#containers;
      context.prewarmCgroupMigration();
      await operation.enter("build-spec");
      const subject = execSubject(context, container);
      const spec = await context.specs.process(subject, {
        args: command,
        terminal,
        ...(env && { env }),
      });
      const client = { streams, terminal };
      const end = await runtimeOf(context, container).exec(container.id, spec, client, operation);
      await operation.enter("answer");
      return end;
    });
  }

  async attach(request: AttachRequest, streams: ClientStreams, signal: AbortSignal): Promise<void> {
    await this.#run("attach", request.containerId, signal, async (container, operation) => {
      const { tty: terminal } = container.config;
      const client = { streams, terminal, stdin: stdinOf(container) };
      try {
        await runtimeOf(this.#containers, container).attach(container.id, client, operation);
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

  /** Checks again that the container is running: a client may connect a minute after its request. */
  async #run<T>(
    name: "exec" | "attach",
    containerId: string,
    signal: AbortSignal,
    work: (container: Container, operation: RunningOperation) => Promise<T>,
  ): Promise<T> {
    const context = this.#containers;
    const doing = name === "exec" ? "exec in" : "attach to";
    const container = runningContainer(context, containerId, doing);
    const { id, sandboxId } = container;
    const log = context.log.with({ container: id, sandbox: sandboxId });
    const plan = { name, subject: id, timeoutMs: maxTimerMs, log };
    return context.operations.run(plan, async (operation) => {
      using _caller = operation.follow(signal);
      return await work(container, operation);
    });
  }
}

function stdinOf({ config }: Container): AttachedClient["stdin"] {
  if (!config.stdin) return "none";
  return config.stdinOnce ? "once" : "open";
}
