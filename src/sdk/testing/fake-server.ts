// A server for tests of the SDK: pods and containers are records, and commands run as processes of this machine.
import { RuntimeError } from "../../base/errors.ts";
import * as containers from "../../gen/davit/v1/containers_pb.ts";
import * as daemon from "../../gen/davit/v1/daemon_pb.ts";
import * as leases from "../../gen/davit/v1/leases_pb.ts";
import * as pulls from "../../gen/davit/v1/pull_pb.ts";
import * as cri from "../../gen/runtime/v1/api_pb.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { execMethod } from "./fake-commands.ts";
import { Methods } from "./fake-methods.ts";

/** A pod of the fake server. */
export interface FakePod {
  readonly id: string;
  readonly config: cri.PodSandboxConfig;
  readonly containers: FakeContainer[];
}

/** A container of the fake server. */
export interface FakeContainer {
  readonly id: string;
  readonly config: cri.ContainerConfig;
  state: cri.ContainerState;
  exitCode: number;
  readonly log: string[];
}

/** The state of a fake server, which tests read and change. */
export interface FakeServer extends AsyncDisposable {
  readonly endpoint: string;
  readonly pods: FakePod[];
  /** The images that are present; those of a pull are added. */
  readonly images: Set<string>;
  /** The ids of the leases that are held now. */
  readonly held: Set<string>;
  /** The names of the calls, in order. */
  readonly calls: string[];
  /** Ends a container. */
  end(container: FakeContainer, exitCode: number): void;
  /** Ends the calls that hold leases, as a restart does. */
  dropLeases(): void;
  /** A failure for the next call of this method. */
  failNext(method: string, error: RuntimeError): void;
}

/** What the fake server is. */
export interface FakeOptions {
  /** The name of the server; davit if not given. Others have only the CRI. */
  readonly name?: string;
  /** The address of pods; none if not given. */
  readonly address?: string;
}

/** The config of a pod as in a verbose status. */
function infoOf(pod: FakePod | undefined): string {
  const port_mappings = (pod?.config.portMappings ?? []).map((port) => ({
    protocol: port.protocol,
    container_port: port.containerPort,
    host_port: port.hostPort,
    host_ip: port.hostIp,
  }));
  return JSON.stringify({ config: { port_mappings } });
}

const { CONTAINER_CREATED, CONTAINER_EXITED, CONTAINER_RUNNING } = cri.ContainerState;

class Fake {
  readonly pods: FakePod[] = [];
  readonly images = new Set(["test:1"]);
  readonly held = new Set<string>();
  readonly calls: string[] = [];
  readonly failures = new Map<string, RuntimeError>();
  readonly watchers = new Set<() => void>();
  readonly options: FakeOptions;
  /** Counts the restarts, as far as leases notice them. */
  restarts = 0;
  #nextId = 1;

  constructor(options: FakeOptions) {
    this.options = options;
  }

  id(): string {
    return (this.#nextId++).toString(16).padStart(64, "0");
  }

  changed(): void {
    for (const wake of this.watchers) wake();
  }

  /** Resolves at the next change or at the end of the call. */
  change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.watchers.delete(done);
        resolve();
      };
      this.watchers.add(done);
      signal.addEventListener("abort", done, { once: true });
      if (signal.aborted) done();
    });
  }

  container(id: string): FakeContainer {
    const found = this.pods.flatMap((pod) => pod.containers).find((each) => each.id === id);
    if (found === undefined) throw new RuntimeError("not-found", `find container "${id}": none`);
    return found;
  }

  end(container: FakeContainer, exitCode: number): void {
    container.state = CONTAINER_EXITED;
    container.exitCode = exitCode;
    this.changed();
  }
}

/** Starts a fake server. */
export async function startFake(options: FakeOptions = {}): Promise<FakeServer> {
  const fake = new Fake(options);
  const methods = new Methods(fake);
  addSandboxes(methods, fake);
  addContainers(methods, fake);
  if (options.name === undefined) addDavit(methods, fake);
  const serving = await serve({}, { methods: methods.all });
  return {
    endpoint: serving.path,
    pods: fake.pods,
    images: fake.images,
    held: fake.held,
    calls: fake.calls,
    end: (container, exitCode) => fake.end(container, exitCode),
    dropLeases: () => {
      fake.restarts += 1;
      fake.changed();
    },
    failNext: (method, error) => void fake.failures.set(method, error),
    [Symbol.asyncDispose]: () => serving[Symbol.asyncDispose](),
  };
}

const runtime = (name: string): string => `/runtime.v1.RuntimeService/${name}`;

function addSandboxes(methods: Methods, fake: Fake): void {
  const remove = (id: string): void => {
    const at = fake.pods.findIndex((pod) => pod.id === id);
    if (at >= 0) fake.pods.splice(at, 1);
    fake.changed();
  };
  methods
    .unary(runtime("Version"), [cri.VersionRequestSchema, cri.VersionResponseSchema], () => ({
      runtimeName: fake.options.name ?? "davit",
      runtimeVersion: "0.0.0",
    }))
    .unary(
      runtime("RunPodSandbox"),
      [cri.RunPodSandboxRequestSchema, cri.RunPodSandboxResponseSchema],
      ({ config }) => {
        const id = fake.id();
        fake.pods.push({ id, config: config as cri.PodSandboxConfig, containers: [] });
        return { podSandboxId: id };
      },
    )
    .unary(
      runtime("PodSandboxStatus"),
      [cri.PodSandboxStatusRequestSchema, cri.PodSandboxStatusResponseSchema],
      ({ podSandboxId: id, verbose }) => ({
        status: { id, network: { ip: fake.options.address ?? "" } },
        ...(verbose && { info: { info: infoOf(fake.pods.find((pod) => pod.id === id)) } }),
      }),
    )
    .unary(
      runtime("ListPodSandbox"),
      [cri.ListPodSandboxRequestSchema, cri.ListPodSandboxResponseSchema],
      ({ filter }) => ({
        items: fake.pods
          .filter(({ config }) =>
            Object.entries(filter?.labelSelector ?? {}).every(
              ([key, value]) => config.labels[key] === value,
            ),
          )
          .map(({ id, config }) => ({
            id,
            metadata: config.metadata ?? {},
            labels: config.labels,
          })),
      }),
    )
    .unary(
      runtime("StopPodSandbox"),
      [cri.StopPodSandboxRequestSchema, cri.StopPodSandboxResponseSchema],
      () => ({}),
    )
    .unary(
      runtime("RemovePodSandbox"),
      [cri.RemovePodSandboxRequestSchema, cri.RemovePodSandboxResponseSchema],
      ({ podSandboxId }) => {
        remove(podSandboxId);
        return {};
      },
    );
}

function addContainers(methods: Methods, fake: Fake): void {
  methods
    .unary(
      runtime("CreateContainer"),
      [cri.CreateContainerRequestSchema, cri.CreateContainerResponseSchema],
      ({ podSandboxId, config }) => {
        const pod = fake.pods.find((each) => each.id === podSandboxId);
        const containerId = fake.id();
        pod?.containers.push({
          id: containerId,
          config: config as cri.ContainerConfig,
          state: CONTAINER_CREATED,
          exitCode: 0,
          log: [],
        });
        return { containerId };
      },
    )
    .unary(
      runtime("StartContainer"),
      [cri.StartContainerRequestSchema, cri.StartContainerResponseSchema],
      ({ containerId }) => {
        fake.container(containerId).state = CONTAINER_RUNNING;
        return {};
      },
    )
    .unary(
      runtime("ContainerStatus"),
      [cri.ContainerStatusRequestSchema, cri.ContainerStatusResponseSchema],
      ({ containerId }) => {
        const { id, state, exitCode } = fake.container(containerId);
        const reason = exitCode === 0 ? "Completed" : "Error";
        return { status: { id, state, exitCode, reason, finishedAt: 1_700_000_000_000_000_000n } };
      },
    )
    .unary(
      runtime("ListContainers"),
      [cri.ListContainersRequestSchema, cri.ListContainersResponseSchema],
      ({ filter }) => ({
        containers: fake.pods
          .filter(({ id }) => id === filter?.podSandboxId)
          .flatMap(({ id: podSandboxId, containers: all }) =>
            all.toReversed().map(({ id, config, state }) => ({
              id,
              podSandboxId,
              state,
              metadata: config.metadata ?? {},
              image: config.image ?? {},
              annotations: config.annotations,
            })),
          ),
      }),
    )
    .unary(
      runtime("StopContainer"),
      [cri.StopContainerRequestSchema, cri.StopContainerResponseSchema],
      ({ containerId }) => {
        fake.end(fake.container(containerId), 137);
        return {};
      },
    )
    .stream(
      runtime("GetContainerEvents"),
      [cri.GetEventsRequestSchema, cri.ContainerEventResponseSchema],
      async function* (_request, { signal }) {
        while (!signal.aborted) {
          await fake.change(signal);
          for (const { id, containers: all } of fake.pods) {
            for (const container of all.filter(({ state }) => state === CONTAINER_EXITED)) {
              yield {
                containerId: container.id,
                containerEventType: cri.ContainerEventType.CONTAINER_STOPPED_EVENT,
                podSandboxStatus: { id },
                containersStatuses: [{ id: container.id, exitCode: container.exitCode }],
              };
            }
          }
        }
      },
    )
    .unary(
      "/runtime.v1.ImageService/ImageStatus",
      [cri.ImageStatusRequestSchema, cri.ImageStatusResponseSchema],
      ({ image }) => {
        const name = (image?.image ?? "").replace(/^id-/, "");
        return fake.images.has(name) ? { image: { id: `id-${name}`, repoTags: [name] } } : {};
      },
    );
}

function addDavit(methods: Methods, fake: Fake): void {
  methods
    .stream(
      "/davit.v1.Leases/Hold",
      [leases.HoldRequestSchema, leases.HoldResponseSchema],
      async function* (request, { signal }) {
        const id = request.id === "" ? `lease-${fake.id().slice(-4)}` : request.id;
        const { restarts } = fake;
        fake.held.add(id);
        try {
          yield { id };
          while (!signal.aborted && fake.restarts === restarts) await fake.change(signal);
          if (!signal.aborted) throw new RuntimeError("unavailable", "hold lease: davit restarts");
        } finally {
          fake.held.delete(id);
        }
      },
    )
    .stream(
      "/davit.v1.Pulls/Pull",
      [pulls.PullRequestSchema, pulls.PullResponseSchema],
      async function* ({ image }) {
        yield { part: { case: "progress" as const, value: { stage: "resolve" } } };
        const layer = { digest: "sha256:1", sizeBytes: 10n, fetchedBytes: 4n, state: 1 as const };
        yield { part: { case: "progress" as const, value: { stage: "fetch", layers: [layer] } } };
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (image.startsWith("missing")) {
          throw new RuntimeError(
            "unavailable",
            `pull image "${image}" (stage resolve, 3 ms): RegistryUnavailable: no answer`,
          );
        }
        fake.images.add(image);
        yield { part: { case: "image" as const, value: { id: `id-${image}`, name: image } } };
      },
    )
    .stream(
      "/davit.v1.Containers/Logs",
      [containers.LogsRequestSchema, containers.LogsResponseSchema],
      async function* ({ containerId, follow, tail }, { signal }) {
        const container = fake.container(containerId);
        const asLine = (text: string) => ({ text: Buffer.from(text), timeNs: 1_000_000n });
        let at = tail === undefined ? 0 : Math.max(0, container.log.length - Number(tail));
        for (;;) {
          const lines = container.log.slice(at).map(asLine);
          at = container.log.length;
          yield { lines };
          if (!follow || container.state === CONTAINER_EXITED || signal.aborted) return;
          await fake.change(signal);
        }
      },
    )
    .unary(
      "/davit.v1.Containers/Usage",
      [containers.UsageRequestSchema, containers.UsageResponseSchema],
      ({ containerId }) => {
        const ended = fake.container(containerId).state === CONTAINER_EXITED;
        return { timeNs: 2_000_000n, ended, cpuNs: 5_000_000n, memoryPeakBytes: 7n };
      },
    )
    .stream(
      "/davit.v1.Daemon/Events",
      [daemon.EventsRequestSchema, daemon.EventsResponseSchema],
      async function* (_request, { signal }) {
        yield {};
        const value = { id: "id-x", name: "x:1" };
        yield { timeNs: 3_000_000n, event: { case: "imagePulled" as const, value } };
        while (!signal.aborted) await fake.change(signal);
      },
    );
  methods.all.set("/davit.v1.Containers/Exec", {
    kind: "stream",
    handle: (requests, call) => execMethod(fake, requests, call),
  });
}
