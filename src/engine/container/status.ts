import type { Container, OomKillCount } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { PastOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { pausedSince } from "./paused.ts";

/** The answer of ContainerStatus. */
export interface ContainerStatus {
  readonly container: Container;
  /** Undefined unless the request is verbose. */
  readonly info: ContainerInfo | undefined;
}

/** The verbose information about a container. */
export interface ContainerInfo {
  /** Undefined when the record of the sandbox is lost. */
  readonly sandbox: Sandbox | undefined;
  /** The spec that it was started with; null before its start, and when its bundle is lost or damaged. */
  readonly spec: OciSpec | null;
  /** Since when it is paused, in nanoseconds since 1970; undefined for one that is not. */
  readonly pausedAtNs: bigint | undefined;
  readonly history: readonly PastOperation[];
  /** Undefined if no process of it was killed while it continued to run. */
  readonly oomKills: OomKillCount | undefined;
  /** System calls that the seccomp notifier saw, and how often; undefined if there were none. */
  readonly deniedCalls: Readonly<Record<string, number>> | undefined;
}

/**
 * The status of a container, from memory; a verbose request also reads the spec from the bundle.
 * `not-found` when the container does not exist, `invalid-argument` for an empty or ambiguous id.
 */
export async function containerStatus(
  context: ContainerContext,
  idOrPrefix: string,
  verbose: boolean,
): Promise<ContainerStatus> {
  const container = context.store.resolve(idOrPrefix);
  if (!verbose) return { container, info: undefined };
  return {
    container,
    info: {
      sandbox: context.sandboxes.peek(container.sandboxId),
      spec: await specOf(context, container),
      pausedAtNs: pausedSince(container),
      history: context.operations.history.of(container.id),
      oomKills: context.oomKills.of(container.id),
      deniedCalls: context.deniedCalls?.of(container.id),
    },
  };
}

async function specOf(context: ContainerContext, container: Container): Promise<OciSpec | null> {
  try {
    return (await runtimeOf(context, container).spec(container.id)) ?? null;
  } catch {
    return null;
  }
}
