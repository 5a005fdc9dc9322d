import { RuntimeError } from "../../base/errors.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { StreamChoice, StreamUrls } from "../../core/streaming/index.ts";
import { checkCommand, type ContainerContext, runningContainer } from "../container/index.ts";
import type { SandboxContext } from "../sandbox/index.ts";

/** What requests for streams are answered with. */
export interface StreamingContext {
  readonly containers: ContainerContext;
  readonly sandboxes: SandboxContext;
  readonly urls: StreamUrls;
}

/**
 * The address at which a client may run a command. `failed-precondition` for a container that does
 * not run, `invalid-argument` for streams that cannot be had together.
 */
export function requestExec(
  context: StreamingContext,
  request: { readonly containerId: string; readonly command: readonly string[] },
  choice: StreamChoice,
): string {
  checkChoice("exec", choice);
  const { id: containerId } = runningContainer(context.containers, request.containerId, "exec in");
  checkCommand(containerId, request.command);
  const { terminal } = choice;
  return context.urls.exec({ containerId, command: request.command, terminal }, choice);
}

/** The address at which a client may join a container's streams; errors as for requestExec. */
export function requestAttach(
  context: StreamingContext,
  request: { readonly containerId: string },
  choice: StreamChoice,
): string {
  checkChoice("attach", choice);
  const container = runningContainer(context.containers, request.containerId, "attach to");
  // The container has a terminal or has none, whatever the client believes; its streams are as it asks.
  const terminal = container.config.tty;
  return context.urls.attach({ containerId: container.id, terminal }, choice);
}

/** The address at which a client may reach ports of a sandbox, which must be ready. */
export function requestPortForward(
  context: StreamingContext,
  request: { readonly sandboxId: string; readonly ports: readonly number[] },
): string {
  const { id } = readySandbox(context.sandboxes, request.sandboxId);
  const bad = request.ports.find((port) => !Number.isInteger(port) || port < 1 || port > 65_535);
  if (bad !== undefined) {
    const text = `forward to sandbox "${id}": a port is 1 to 65535, got ${bad}`;
    throw new RuntimeError("invalid-argument", text);
  }
  return context.urls.portForward(id, request.ports);
}

/** `failed-precondition` for a sandbox that is not ready. */
export function readySandbox(context: SandboxContext, idOrPrefix: string): Sandbox {
  const sandbox = context.store.resolve(idOrPrefix);
  if (sandbox.state.name === "ready") return sandbox;
  throw new RuntimeError(
    "failed-precondition",
    `forward to sandbox "${sandbox.id}": it is ${sandbox.state.name}, not ready`,
  );
}

/** What api.proto says of ExecRequest and AttachRequest. */
function checkChoice(verb: string, choice: StreamChoice): void {
  if (choice.terminal && choice.stderr) {
    const text = `${verb}: with tty there is no stderr of its own; leave stderr out`;
    throw new RuntimeError("invalid-argument", text);
  }
  if (!choice.stdin && !choice.stdout && !choice.stderr) {
    const text = `${verb}: none of stdin, stdout and stderr is asked for; ask for one at least`;
    throw new RuntimeError("invalid-argument", text);
  }
}
