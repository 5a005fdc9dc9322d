import {
  type DescMessage,
  type DescMethod,
  type DescService,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  create,
} from "@bufbuild/protobuf";
import { RuntimeError } from "../base/errors.ts";
import type { LogFields } from "../base/logger.ts";
import { Checkpoints } from "../gen/davit/v1/checkpoints_pb.ts";
import { Containers } from "../gen/davit/v1/containers_pb.ts";
import { Daemon } from "../gen/davit/v1/daemon_pb.ts";
import { Images } from "../gen/davit/v1/images_pb.ts";
import { Leases } from "../gen/davit/v1/leases_pb.ts";
import { Pulls } from "../gen/davit/v1/pull_pb.ts";
import { ImageService, RuntimeService } from "../gen/runtime/v1/api_pb.ts";
import type { Call, Method } from "../wire/grpc/call.ts";
import { decodeRequest } from "../wire/protobuf.ts";
import type { CriContext, RpcCall } from "./context.ts";
import { check } from "./davit/check.ts";
import * as checkpointRpcs from "./davit/checkpoints.ts";
import { events } from "./davit/events.ts";
import { exec as execWithStreams } from "./davit/exec.ts";
import { explain } from "./davit/explain.ts";
import { hold } from "./davit/hold.ts";
import { load } from "./davit/load.ts";
import { logs } from "./davit/logs.ts";
import { pull } from "./davit/pull.ts";
import { reload } from "./davit/reload.ts";
import { save } from "./davit/save.ts";
import { tag } from "./davit/tag.ts";
import { usage } from "./davit/usage.ts";
import { verify } from "./davit/verify.ts";
import { imageFsInfo } from "./image/image-fs-info.ts";
import { imageStatus } from "./image/image-status.ts";
import { listImages } from "./image/list-images.ts";
import { pullImage } from "./image/pull-image.ts";
import { removeImage } from "./image/remove-image.ts";
import { streamImages } from "./image/stream-images.ts";
import { checkRequestText } from "./check-request-text.ts";
import { attach } from "./runtime/attach.ts";
import { checkpointContainer } from "./runtime/checkpoint-container.ts";
import { checkpointPod } from "./runtime/checkpoint-pod.ts";
import { containerStats } from "./runtime/container-stats.ts";
import { containerStatus } from "./runtime/container-status.ts";
import { createContainer } from "./runtime/create-container.ts";
import { exec } from "./runtime/exec.ts";
import { execSync } from "./runtime/exec-sync.ts";
import { getContainerEvents } from "./runtime/get-container-events.ts";
import { listContainerStats } from "./runtime/list-container-stats.ts";
import { listContainers } from "./runtime/list-containers.ts";
import { listMetricDescriptors } from "./runtime/list-metric-descriptors.ts";
import { listPodSandbox } from "./runtime/list-pod-sandbox.ts";
import { listPodSandboxMetrics } from "./runtime/list-pod-sandbox-metrics.ts";
import { listPodSandboxStats } from "./runtime/list-pod-sandbox-stats.ts";
import { podSandboxStats } from "./runtime/pod-sandbox-stats.ts";
import { podSandboxStatus } from "./runtime/pod-sandbox-status.ts";
import { portForward } from "./runtime/port-forward.ts";
import { removeContainer } from "./runtime/remove-container.ts";
import { removePodSandbox } from "./runtime/remove-pod-sandbox.ts";
import { reopenContainerLog } from "./runtime/reopen-container-log.ts";
import { restorePod } from "./runtime/restore-pod.ts";
import { runPodSandbox } from "./runtime/run-pod-sandbox.ts";
import { runtimeConfig } from "./runtime/runtime-config.ts";
import { startContainer } from "./runtime/start-container.ts";
import { status } from "./runtime/status.ts";
import { stopContainer } from "./runtime/stop-container.ts";
import { stopPodSandbox } from "./runtime/stop-pod-sandbox.ts";
import { streamContainerStats } from "./runtime/stream-container-stats.ts";
import { streamContainers } from "./runtime/stream-containers.ts";
import { streamPodSandboxMetrics } from "./runtime/stream-pod-sandbox-metrics.ts";
import { streamPodSandboxStats } from "./runtime/stream-pod-sandbox-stats.ts";
import { streamPodSandboxes } from "./runtime/stream-pod-sandboxes.ts";
import { updateContainerResources } from "./runtime/update-container-resources.ts";
import { updatePodSandboxResources } from "./runtime/update-pod-sandbox-resources.ts";
import { updateRuntimeConfig } from "./runtime/update-runtime-config.ts";
import { version } from "./runtime/version.ts";
import {
  checkpointSubjects,
  containerSubjects,
  davitSubjects,
  imageSubjects,
  leaseSubjects,
  pullSubjects,
  runtimeSubjects,
} from "./log-subjects.ts";

/** An answer as a message, or encoded already. */
type Answer<O extends DescMessage> = MessageInitShape<O> | Uint8Array;

type Rpc<M> = M extends {
  methodKind: "bidi_streaming";
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? (
      context: CriContext,
      requests: AsyncIterable<MessageShape<I>>,
      call: RpcCall,
    ) => AsyncIterable<Answer<O>>
  : SingleRequestRpc<M>;

type SingleRequestRpc<M> = M extends { methodKind: "unary"; input: infer I; output: infer O }
  ? I extends DescMessage
    ? O extends DescMessage
      ? (
          context: CriContext,
          request: MessageShape<I>,
          call: RpcCall,
        ) => Promise<Answer<O>> | Answer<O>
      : never
    : never
  : M extends { input: infer I; output: infer O }
    ? I extends DescMessage
      ? O extends DescMessage
        ? (
            context: CriContext,
            request: MessageShape<I>,
            call: RpcCall,
          ) => AsyncIterable<Answer<O>> | Iterable<Answer<O>>
        : never
      : never
    : never;

type Table<S extends DescService> = {
  readonly [Name in keyof S["method"]]?: Rpc<S["method"][Name]>;
};

/** The implemented RPCs by name. All others answer Unimplemented. */
const runtimeRpcs: Table<typeof RuntimeService> = {
  version,
  status,
  runtimeConfig,
  updateRuntimeConfig,
  runPodSandbox,
  stopPodSandbox,
  removePodSandbox,
  podSandboxStatus,
  listPodSandbox,
  streamPodSandboxes,
  updatePodSandboxResources,
  podSandboxStats,
  listPodSandboxStats,
  streamPodSandboxStats,
  createContainer,
  startContainer,
  stopContainer,
  removeContainer,
  listContainers,
  streamContainers,
  containerStatus,
  updateContainerResources,
  containerStats,
  listContainerStats,
  streamContainerStats,
  listMetricDescriptors,
  listPodSandboxMetrics,
  streamPodSandboxMetrics,
  execSync,
  exec,
  attach,
  portForward,
  reopenContainerLog,
  getContainerEvents,
  checkpointContainer,
  checkpointPod,
  restorePod,
};

const imageRpcs: Table<typeof ImageService> = {
  listImages,
  streamImages,
  imageStatus,
  pullImage,
  removeImage,
  imageFsInfo,
};

const davitRpcs: Table<typeof Images> = { load, save, tag, check };

const pullRpcs: Table<typeof Pulls> = { explain, verify, pull };

const containerRpcs: Table<typeof Containers> = { exec: execWithStreams, logs, usage };

const daemonRpcs: Table<typeof Daemon> = { reload, events };

const leaseRpcs: Table<typeof Leases> = { hold };

/** The part of the context that exists before the daemon is ready. */
type Early = Pick<CriContext, "version">;

/** Decides when calls are served, and with which context. */
export interface ServiceGate extends Early {
  /** Undefined until recovery has ended: until then only Version is answered. */
  readonly context: () => CriContext | undefined;
  /** Resolves when the context exists, or after a limited time. */
  readonly soon: () => Promise<void>;
  /** Adds facts about a call to its log line; may be called several times. */
  readonly note?: (call: Call, facts: LogFields) => void;
}

/** The methods that are served before recovery has ended, because their answer does not depend on it. */
const alwaysServed: ReadonlySet<string> = new Set(["version"]);

/** Both CRI services and davit's own for the gRPC server: every method of the contracts has an entry. */
export function criMethods(gate: ServiceGate): ReadonlyMap<string, Method> {
  return new Map([
    ...serviceMethods(gate, RuntimeService, runtimeRpcs, runtimeSubjects),
    ...serviceMethods(gate, ImageService, imageRpcs, imageSubjects),
    ...serviceMethods(gate, Images, davitRpcs, davitSubjects),
    ...serviceMethods(gate, Pulls, pullRpcs, pullSubjects),
    ...serviceMethods(gate, Containers, containerRpcs, containerSubjects),
    ...serviceMethods(gate, Daemon, daemonRpcs, {}),
    ...serviceMethods(gate, Leases, leaseRpcs, leaseSubjects),
    ...serviceMethods(gate, Checkpoints, checkpointRpcs, checkpointSubjects),
  ]);
}

function* serviceMethods<S extends DescService>(
  gate: ServiceGate,
  service: S,
  table: Table<S>,
  subjects: object,
): Iterable<[string, Method]> {
  for (const method of service.methods) {
    const rpc = (table as Readonly<Record<string, unknown>>)[method.localName];
    const subject = (subjects as Readonly<Record<string, Subject>>)[method.localName];
    yield [`/${service.typeName}/${method.name}`, asMethod(gate, method, rpc, subject)];
  }
}

/**
 * The fields that the log has for the calls of a method, of its first request and its last answer; see
 * log-subjects.ts.
 */
interface Subject {
  readonly asked: (request: unknown, context: CriContext) => LogFields;
  readonly got?: (answer: unknown, context: CriContext) => LogFields;
}

type UnaryRpc = (
  context: CriContext | Early,
  request: unknown,
  call: RpcCall,
) => Promise<Answer<DescMessage>>;
type BidiRpc = (
  context: CriContext | Early,
  requests: AsyncIterable<unknown>,
  call: RpcCall,
) => AsyncIterable<Answer<DescMessage>>;
type StreamRpc = (
  context: CriContext | Early,
  request: unknown,
  call: RpcCall,
) => AsyncIterable<Answer<DescMessage>> | Iterable<Answer<DescMessage>>;

function asMethod(
  gate: ServiceGate,
  method: DescMethod,
  rpc: unknown,
  subject: Subject | undefined,
): Method {
  // No promise when the daemon is ready: it would be a measurable part of a status's CPU time.
  const contextFor = (call: Call): CriContext | Early | Promise<CriContext> =>
    gate.context() ??
    (alwaysServed.has(method.localName) ? gate : waitUntilReady(gate, method, call));
  const begin = (bytes: Uint8Array, call: Call): [unknown, RpcCall] => {
    if (rpc === undefined) {
      throw new RuntimeError(
        "unimplemented",
        `serve ${method.name}: this version of davit does not implement it`,
      );
    }
    const request = decodeRequest(method, bytes);
    checkRequestText(method.name, request);
    return [request, new ServedCall(call, bytes)];
  };
  if (method.methodKind === "unary") {
    return {
      kind: "unary",
      handle: async (bytes, call) => {
        const found = contextFor(call);
        const context = found instanceof Promise ? await found : found;
        const [request, rpcCall] = begin(bytes, call);
        if (subject === undefined) {
          return encode(method, await (rpc as UnaryRpc)(context, request, rpcCall));
        }
        // Before the call runs, because a removed object no longer has a name.
        const served = context as CriContext;
        gate.note?.(call, subject.asked(request, served));
        const answer = await (rpc as UnaryRpc)(context, request, rpcCall);
        if (subject.got !== undefined) gate.note?.(call, subject.got(answer, served));
        return encode(method, answer);
      },
    };
  }
  if (method.methodKind === "bidi_streaming") {
    return {
      kind: "stream",
      handle: async function* (requests, call) {
        const context = await contextFor(call);
        async function* decoded(): AsyncGenerator {
          let asked = subject?.asked;
          for await (const bytes of requests) {
            const [request] = begin(bytes, call);
            if (asked !== undefined) gate.note?.(call, asked(request, context as CriContext));
            asked = undefined;
            yield request;
          }
        }
        const rpcCall = new ServedCall(call, new Uint8Array());
        let last: Answer<DescMessage> | undefined;
        for await (const answer of (rpc as BidiRpc)(context, decoded(), rpcCall)) {
          last = answer;
          yield encode(method, answer);
        }
        if (last === undefined || subject?.got === undefined) return;
        gate.note?.(call, subject.got(last, context as CriContext));
      },
    };
  }
  return {
    kind: "server-stream",
    handle: async function* (bytes, call) {
      const context = await contextFor(call);
      const [request, rpcCall] = begin(bytes, call);
      const served = context as CriContext;
      if (subject !== undefined) gate.note?.(call, subject.asked(request, served));
      for await (const answer of (rpc as StreamRpc)(context, request, rpcCall)) {
        if (subject?.got !== undefined) gate.note?.(call, subject.got(answer, served));
        yield encode(method, answer);
      }
    },
  };
}

/** The context, after a limited wait; `unavailable` when the daemon is still not ready then. */
async function waitUntilReady(
  gate: ServiceGate,
  method: DescMethod,
  call: Call,
): Promise<CriContext> {
  await gate.soon();
  call.signal.throwIfAborted();
  const context = gate.context();
  if (context !== undefined) return context;
  throw new RuntimeError(
    "unavailable",
    `serve ${method.name}: davit is still restoring the sandboxes of its last run; try again in a moment`,
  );
}

/** Reads the signal of the call only when it is used: creating it is a tenth of the cost of a status. */
class ServedCall implements RpcCall {
  readonly requestBytes: Uint8Array;
  readonly #call: Call;

  constructor(call: Call, requestBytes: Uint8Array) {
    this.#call = call;
    this.requestBytes = requestBytes;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get deadline(): number | undefined {
    return this.#call.deadline;
  }

  get peer(): RpcCall["peer"] {
    return this.#call.peer;
  }

  open(): void {
    this.#call.sendHeaders();
  }
}

function encode(method: DescMethod, answer: Answer<DescMessage>): Uint8Array {
  return answer instanceof Uint8Array
    ? answer
    : toBinary(method.output, create(method.output, answer));
}
