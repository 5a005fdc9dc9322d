import { RuntimeError } from "../../base/errors.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { StreamChoice, StreamUrls } from "../../core/streaming/index.ts";
import { type ExecVariable, execEnv } from "../../oci-spec/index.ts";
import {
  checkCommand,
  checkNotPaused,
  type ContainerContext,
  runningContainer,
} from "../container/index.ts";
import type { SandboxContext } from "../sandbox/index.ts";

/** The dependencies of the requests for streams. */
export interface StreamingContext {
  readonly containers: Pick<ContainerContext, "store" | "captured">;
  readonly sandboxes: Pick<SandboxContext, "store">;
  readonly urls: StreamUrls;
}

/**
 * The URL at which a client may run a command. `failed-precondition` for a container that is not
 * running or is paused, `invalid-argument` for an invalid combination of streams and for invalid variables.
 */
export async function requestExec(
  context: StreamingContext,
  request: {
    readonly containerId: string;
    readonly command: readonly string[];
    /** Variables of the command, over those of the container. */
    readonly envs?: readonly ExecVariable[];
  },
  choice: StreamChoice,
): Promise<string> {
  checkChoice("exec", choice);
  const container = runningContainer(context.containers, request.containerId, "exec in");
  checkNotPaused(context.containers, container, "exec in");
  const { id: containerId, sandboxId } = container;
  checkCommand(containerId, request.command);
  const { command, envs = [] } = request;
  const env = envs.length === 0 ? {} : { env: execEnv(containerId, envs) };
  const { terminal } = choice;
  return await context.urls.exec({ containerId, sandboxId, command, terminal, ...env }, choice);
}

/** The URL at which a client may attach to a container, also to a paused one; errors as for requestExec. */
export async function requestAttach(
  context: StreamingContext,
  request: { readonly containerId: string },
  choice: StreamChoice,
): Promise<string> {
  checkChoice("attach", choice);
  const container = runningContainer(context.containers, request.containerId, "attach to");
  // Whether there is a terminal depends on the container; the client chooses only the streams.
  const terminal = container.config.tty;
  const { id: containerId, sandboxId } = container;
  return await context.urls.attach({ containerId, sandboxId, terminal }, choice);
}

/** The URL at which a client may reach ports of a sandbox. `failed-precondition` if it is not ready. */
export async function requestPortForward(
  context: StreamingContext,
  request: { readonly sandboxId: string; readonly ports: readonly number[] },
): Promise<string> {
  const { id } = readySandbox(context.sandboxes, request.sandboxId);
  const bad = request.ports.find((port) => !Number.isInteger(port) || port < 1 || port > 65_535);
  if (bad !== undefined) {
    const text = `forward to sandbox "${id}": a port must be from 1 to 65535, got ${bad}`;
    throw new RuntimeError("invalid-argument", text);
  }
  return await context.urls.portForward(id, request.ports);
}

/** A ready sandbox; `failed-precondition` for any other. */
export function readySandbox(context: Pick<SandboxContext, "store">, idOrPrefix: string): Sandbox {
  const sandbox = context.store.resolve(idOrPrefix);
  if (sandbox.state.name === "ready") return sandbox;
  throw new RuntimeError(
    "failed-precondition",
    `forward to sandbox "${sandbox.id}": it is ${sandbox.state.name}, not ready`,
  );
}

/** Checks the rules of api.proto for ExecRequest and AttachRequest. */
function checkChoice(verb: string, choice: StreamChoice): void {
  if (choice.terminal && choice.stderr) {
    const text = `${verb}: a terminal has no separate stderr; set stderr to false`;
    throw new RuntimeError("invalid-argument", text);
  }
  if (!choice.stdin && !choice.stdout && !choice.stderr) {
    const text = `${verb}: stdin, stdout and stderr are all false; set at least one of them`;
    throw new RuntimeError("invalid-argument", text);
  }
}
