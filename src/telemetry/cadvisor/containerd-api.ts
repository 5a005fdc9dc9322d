import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RuntimeError } from "../../base/errors.ts";
import type { Container, ContainerStore } from "../../core/container/index.ts";
import { type Sandbox, type SandboxStore, usesHostNetwork } from "../../core/sandbox/index.ts";
import {
  Containers,
  type Container as ContainerMessage,
} from "../../gen/containerd/services/containers/v1/containers_pb.ts";
import { Tasks } from "../../gen/containerd/services/tasks/v1/tasks_pb.ts";
import { Version } from "../../gen/containerd/services/version/v1/version_pb.ts";
import { type ProcessSchema, Status } from "../../gen/containerd/v1/types/task_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { decodeRequest } from "../../wire/protobuf.ts";

/** What the answers are made of. All of it is in memory. */
export interface ContainerdSource {
  /** The version of davit. */
  readonly version: string;
  readonly sandboxes: Pick<SandboxStore, "peek">;
  readonly containers: Pick<ContainerStore, "peek">;
  /** The process whose /proc/PID/net/dev shows the network of the sandbox; undefined when there is none. */
  readonly networkPid: (sandboxId: string) => number | undefined;
}

type Process = MessageInitShape<typeof ProcessSchema>;

/**
 * The three methods of containerd that cAdvisor calls (google/cadvisor, container/containerd): Version when
 * it connects, Containers.Get and Tasks.Get for each cgroup whose name contains 64 letters or digits.
 *
 * Containers.Get must know an object before its cgroup exists: cAdvisor asks once, and treats an unknown one
 * as a plain cgroup from then on. Tasks.Get is repeated for about 3 s while it answers NotFound.
 */
export function containerdMethods(source: ContainerdSource): ReadonlyMap<string, Method> {
  return new Map([
    unary(Version.method.version, () => ({ version: `davit ${source.version}` })),
    unary(Containers.method.get, ({ id }) => ({ container: containerOf(source, id) })),
    unary(Tasks.method.get, ({ containerId, execId }) => {
      if (execId !== "") throw unknown("process", execId);
      return { process: taskOf(source, containerId) };
    }),
  ]);
}

function containerOf(source: ContainerdSource, id: string): ContainerInit {
  const container = source.containers.peek(id);
  const sandbox = source.sandboxes.peek(container?.sandboxId ?? id);
  if (sandbox === undefined) throw unknown("container", id);
  const { metadata } = sandbox.config;
  return {
    id,
    labels: {
      "io.kubernetes.pod.name": metadata?.name ?? "",
      "io.kubernetes.pod.namespace": metadata?.namespace ?? "",
      "io.kubernetes.pod.uid": metadata?.uid ?? "",
      ...(container === undefined ? {} : nameOf(container)),
      "io.cri-containerd.kind": kindOf(container, sandbox),
    },
    image: container?.image.shown ?? "",
    spec: emptySpec,
    ...createdAt(container ?? sandbox),
  };
}

/** cAdvisor reads the network of sandboxes, and of nothing else. That of the host is not the pod's. */
function kindOf(container: Container | undefined, { config }: Sandbox): "sandbox" | "container" {
  return container === undefined && !usesHostNetwork(config) ? "sandbox" : "container";
}

type ContainerInit = MessageInitShape<typeof Containers.method.get.output>["container"] & object;

function nameOf({ config }: Container): ContainerMessage["labels"] {
  return { "io.kubernetes.container.name": config.metadata?.name ?? "" };
}

/** cAdvisor parses it for environment variables. Their values may be secrets, so it has none. */
const emptySpec = {
  typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
  value: Buffer.from('{"ociVersion":"1.2.0","process":{"env":[]}}'),
};

function createdAt({ createdAtNs }: Pick<Sandbox, "createdAtNs">): { createdAt?: Timestamp } {
  if (createdAtNs === undefined) return {};
  return { createdAt: timestampFromMs(Number(createdAtNs / 1_000_000n)) };
}

function taskOf(source: ContainerdSource, id: string): Process {
  const container = source.containers.peek(id);
  if (container !== undefined) return processOf(container);
  const pid = source.sandboxes.peek(id) === undefined ? undefined : source.networkPid(id);
  if (pid === undefined) throw unknown("task", id);
  return { containerId: id, id, pid, status: Status.RUNNING };
}

function processOf({ id, state }: Container): Process {
  switch (state.name) {
    case "running":
      return { containerId: id, id, pid: state.process.pid, status: Status.RUNNING };
    case "exited":
      return { containerId: id, id, status: Status.STOPPED, exitStatus: state.exitCode };
    case "creating":
    case "created":
      throw unknown("task", id);
  }
}

function unknown(what: string, id: string): RuntimeError {
  // Whatever a client sends as an id ends here.
  const shown = JSON.stringify(id.slice(0, 64));
  return new RuntimeError("not-found", `find ${what} ${shown}: there is none with this id`);
}

function unary<I extends DescMessage, O extends DescMessage>(
  method: {
    readonly name: string;
    readonly parent: { readonly typeName: string };
    readonly input: I;
    readonly output: O;
  },
  answer: (request: MessageShape<I>) => MessageInitShape<O>,
): readonly [string, Method] {
  const path = `/${method.parent.typeName}/${method.name}`;
  return [
    path,
    {
      kind: "unary",
      // An error becomes the status of the call.
      handle: (bytes) =>
        Promise.resolve().then(() =>
          toBinary(method.output, create(method.output, answer(decodeRequest(method, bytes)))),
        ),
    },
  ];
}
