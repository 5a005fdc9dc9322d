import type { DescMessage, DescService, MessageShape } from "@bufbuild/protobuf";
import type { LogFields } from "../base/logger.ts";
import { containerSubject, podName, sandboxSubject } from "../engine/lifecycle/subjects.ts";
import type { Checkpoints } from "../gen/davit/v1/checkpoints_pb.ts";
import type { Containers } from "../gen/davit/v1/containers_pb.ts";
import type { Images } from "../gen/davit/v1/images_pb.ts";
import type { Leases } from "../gen/davit/v1/leases_pb.ts";
import type { Pulls } from "../gen/davit/v1/pull_pb.ts";
import type { ImageService, RuntimeService } from "../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "./context.ts";

/**
 * The fields that the log line of a call has in addition to its name and status: its object and its result.
 * Calls that are not listed have none. No field contains environment variables or credentials.
 */
type Subjects<S extends DescService> = {
  readonly [Name in keyof S["method"]]?: S["method"][Name] extends {
    input: infer I extends DescMessage;
    output: infer O extends DescMessage;
  }
    ? {
        /** From the request. */
        readonly asked: (request: MessageShape<I>, context: CriContext) => LogFields;
        /** From the answer, if it has something that the request does not. */
        readonly got?: (answer: Partial<MessageShape<O>>, context: CriContext) => LogFields;
      }
    : never;
};

/** The maximum length of a client's text in a log line; the rest is cut. */
const maxText = 256;

export const runtimeSubjects: Subjects<typeof RuntimeService> = {
  runPodSandbox: {
    asked: ({ config, runtimeHandler }) => ({
      pod: cut(podName(config?.metadata)),
      ...(runtimeHandler === "" ? {} : { handler: cut(runtimeHandler) }),
    }),
    got: ({ podSandboxId }) => ({ sandbox: podSandboxId }),
  },
  stopPodSandbox: {
    asked: ({ podSandboxId }, context) => endOf(podSandboxId, context, "stopped"),
  },
  removePodSandbox: { asked: ({ podSandboxId }, context) => endOf(podSandboxId, context) },
  updatePodSandboxResources: {
    asked: ({ podSandboxId }, context) => sandboxOf(podSandboxId, context),
  },
  portForward: {
    asked: ({ podSandboxId, port }, context) => ({
      ...sandboxOf(podSandboxId, context),
      ports: port.slice(0, 16),
    }),
  },
  createContainer: {
    asked: ({ podSandboxId, config }, context) => ({
      ...sandboxOf(podSandboxId, context),
      containerName: cut(config?.metadata?.name ?? ""),
      image: cut(config?.image?.userSpecifiedImage || (config?.image?.image ?? "")),
    }),
    got: ({ containerId }) => ({ container: containerId }),
  },
  startContainer: { asked: ({ containerId }, context) => containerOf(containerId, context) },
  stopContainer: {
    asked: ({ containerId, timeout }, context) => ({
      ...containerEndOf(containerId, context, "exited"),
      graceSeconds: Number(timeout),
    }),
  },
  removeContainer: { asked: ({ containerId }, context) => containerEndOf(containerId, context) },
  updateContainerResources: {
    asked: ({ containerId }, context) => containerOf(containerId, context),
  },
  reopenContainerLog: { asked: ({ containerId }, context) => containerOf(containerId, context) },
  execSync: {
    // Without the command: a probe that fails would repeat the password in it every few seconds.
    asked: ({ containerId }, context) => containerOf(containerId, context),
    got: ({ exitCode }) => ({ exitCode }),
  },
  exec: {
    asked: ({ containerId, cmd, tty }, context) => ({
      ...containerOf(containerId, context),
      command: commandOf(cmd),
      tty,
    }),
  },
  checkpointContainer: {
    asked: ({ containerId, location }, context) => ({
      ...containerOf(containerId, context),
      location: cut(location),
    }),
  },
  checkpointPod: {
    asked: ({ podSandboxId, outputPath, containerIds }, context) => ({
      ...sandboxOf(podSandboxId, context),
      location: cut(outputPath),
      containers: containerIds.slice(0, 16).map((id) => cut(id)),
    }),
  },
  restorePod: {
    asked: ({ config, runtimeHandler, checkpointPath }) => ({
      pod: cut(podName(config?.metadata)),
      ...(runtimeHandler === "" ? {} : { handler: cut(runtimeHandler) }),
      location: cut(checkpointPath),
    }),
    got: ({ podSandboxId, restoredContainers = [] }) => ({
      sandbox: podSandboxId,
      containers: restoredContainers.map(({ containerId }) => containerId),
    }),
  },
  attach: {
    asked: ({ containerId, tty }, context) => ({ ...containerOf(containerId, context), tty }),
  },
};

export const imageSubjects: Subjects<typeof ImageService> = {
  pullImage: {
    asked: ({ image, sandboxConfig }) => ({
      ...(sandboxConfig?.metadata === undefined
        ? {}
        : { pod: cut(podName(sandboxConfig.metadata)) }),
      image: cut(image?.image ?? ""),
    }),
    got: ({ imageRef = "" }, { images }) => ({
      imageId: imageRef,
      bytes: Number(images.store.find(imageRef)?.sizeBytes ?? 0n),
    }),
  },
  removeImage: { asked: ({ image }) => ({ image: cut(image?.image ?? "") }) },
};

export const davitSubjects: Subjects<typeof Images> = {
  save: { asked: ({ images }) => ({ images: images.slice(0, 16).map((name) => cut(name)) }) },
  check: { asked: ({ deep, repair }) => ({ deep, repair }) },
  tag: {
    asked: ({ source, target }) => ({ image: cut(source), name: cut(target) }),
    got: ({ id = "" }) => ({ imageId: id }),
  },
};

export const containerSubjects: Subjects<typeof Containers> = {
  exec: {
    // Never the variables, nor what is typed.
    asked: ({ part }, context) => {
      if (part.case !== "start") return {};
      const { containerId, command, user, terminal } = part.value;
      return {
        ...containerOf(containerId, context),
        command: commandOf(command),
        tty: terminal !== undefined,
        ...(user === "" ? {} : { user: cut(user) }),
      };
    },
    got: ({ part }) => (part?.case === "end" ? { exitCode: part.value.exitCode } : {}),
  },
  logs: {
    asked: ({ containerId, follow }, context) => ({ ...containerOf(containerId, context), follow }),
  },
};

export const pullSubjects: Subjects<typeof Pulls> = {
  explain: { asked: ({ image }) => ({ image: cut(image) }) },
  verify: { asked: ({ image }) => ({ image: cut(image) }) },
  pull: { asked: ({ image }) => ({ image: cut(image) }) },
};

export const leaseSubjects: Subjects<typeof Leases> = {
  hold: {
    asked: ({ id, graceSeconds }) => ({ ...(id === "" ? {} : { lease: cut(id) }), graceSeconds }),
    got: ({ id = "" }) => ({ lease: id }),
  },
};

export const checkpointSubjects: Subjects<typeof Checkpoints> = {
  takeSnapshot: {
    asked: ({ sandboxId }, context) => sandboxOf(sandboxId, context),
    got: ({ id = "", size = 0n }) => ({ snapshot: id, bytes: Number(size) }),
  },
  removeSnapshot: { asked: ({ id }) => ({ snapshot: cut(id) }) },
  exportSnapshot: { asked: ({ id }) => ({ snapshot: cut(id) }) },
  importSnapshot: {
    asked: () => ({}),
    got: ({ snapshot }) => ({
      snapshot: snapshot?.id ?? "",
      pod: cut(`${snapshot?.podNamespace ?? ""}/${snapshot?.podName ?? ""}`),
    }),
  },
  pause: {
    asked: ({ id }, context) => eitherOf(id, context),
    got: ({ reclaimedBytes = 0n }) =>
      reclaimedBytes === 0n ? {} : { reclaimedBytes: Number(reclaimedBytes) },
  },
  resume: { asked: ({ id }, context) => eitherOf(id, context) },
};

/** The fields of the container or the sandbox with this id. */
function eitherOf(text: string, context: CriContext): LogFields {
  const container = found(() => context.containers.store.find(text));
  return container === undefined ? sandboxOf(text, context) : containerOf(text, context);
}

/**
 * The fields of a sandbox that is to be stopped or removed. `already` says that the call has nothing to do: the sandbox
 * has the state `end`, or it does not exist.
 */
function endOf(text: string, context: CriContext, end?: string): LogFields {
  const already = alreadyIn(() => context.sandboxes.store.find(text), end);
  return { ...sandboxOf(text, context), ...already };
}

/** The same for a container. */
function containerEndOf(text: string, context: CriContext, end?: string): LogFields {
  const already = alreadyIn(() => context.containers.store.find(text), end);
  return { ...containerOf(text, context), ...already };
}

function alreadyIn(
  find: () => { readonly state: { readonly name: string } } | undefined,
  end: string | undefined,
): LogFields {
  try {
    const state = find()?.state.name ?? "removed";
    return state === "removed" || state === end ? { already: state } : {};
  } catch {
    // The call refuses an id that is empty or ambiguous.
    return {};
  }
}

/** A client may name an object by a prefix of its id, and one that there is not. */
function sandboxOf(text: string, { sandboxes }: CriContext): LogFields {
  const sandbox = found(() => sandboxes.store.find(text));
  return sandbox === undefined ? { sandbox: cut(text) } : sandboxSubject(sandbox);
}

function containerOf(text: string, { containers, sandboxes }: CriContext): LogFields {
  const container = found(() => containers.store.find(text));
  if (container === undefined) return { container: cut(text) };
  return containerSubject(container, sandboxes.store);
}

/** An id that is empty or ambiguous is refused by the call itself. */
function found<T>(find: () => T | undefined): T | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}

/** The words of a command, as far as they have room. */
function commandOf(words: readonly string[]): readonly string[] {
  let left = maxText;
  const shown: string[] = [];
  for (const word of words) {
    if (left <= 0) return [...shown, "..."];
    shown.push(cut(word, left));
    left -= word.length + 1;
  }
  return shown;
}

function cut(text: string, length = maxText): string {
  return text.length <= length ? text : `${text.slice(0, length)}...`;
}
