/** Traces: what a collector gets of calls, and that a collector which is gone or broken harms nothing. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ImageService, RuntimeService } from "../../src/gen/runtime/v1/api_pb.ts";
import { type Answer, type ReceivedSpan, TestCollector } from "../support/collector.ts";
import type { ConfigTable, TestDaemon } from "../support/daemon.ts";
import { GrpcJsClient } from "../support/grpc-js-client.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import { container, Node, requestIn, script } from "../support/suites/containers.ts";
import {
  bare,
  endDaemon,
  launchDaemon,
  leaklessAcross,
  pod,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  until,
} from "../support/suites/pods.ts";

const secret = "swordfish-0xA11CE";
const server = 2;

/** A client whose calls belong to a trace, as kubelet's do. */
class TracedClient {
  readonly #socket: string;
  #traces = 0;

  constructor(daemon: TestDaemon) {
    this.#socket = daemon.paths.socket;
  }

  readonly parentId = "00f067aa0ba902b7";

  /** Makes a call in a trace of its own, and returns the id of the trace and the answer. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & {
      readonly methodKind: "unary";
      readonly input: I;
      readonly output: O;
    },
    request: MessageInitShape<I>,
  ): Promise<{ readonly traceId: string; readonly answer: MessageShape<O> | undefined }> {
    using client = new GrpcJsClient(this.#socket);
    const traceId = `4bf92f3577b34da6a3ce929d${String(++this.#traces).padStart(8, "0")}`;
    const metadata = {
      traceparent: `00-${traceId}-${this.parentId}-01`,
      tracestate: "rojo=00f067aa0ba902b7",
    };
    const answer = await client.unary(method, request, { metadata }).catch(() => undefined);
    return { traceId, answer };
  }
}

describe("the spans of calls", () => {
  let collector: TestCollector;
  let node: Node;
  let kubelet: TracedClient;
  const served = (): TestDaemon => node.daemon;

  before(async () => {
    collector = await TestCollector.start();
    const tracing = {
      endpoint: collector.endpoint.replace("//", `//user:${secret}@`),
      headers: { "X-Scope-OrgID": `tenant-${secret}` },
      sampling_ratio: 0,
      service_name: "davit-test",
    };
    node = await Node.startWithBusybox({ config: { tracing } });
    kubelet = new TracedClient(node.daemon);
    // The first pod creates the bridge.
    await removePod(node.daemon, await runPod(node.daemon, pod()));
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    await collector[Symbol.asyncDispose]();
  });

  /** Stops the daemon, which sends its last spans, and starts it again. */
  async function flushed(): Promise<void> {
    await node.daemon.stop();
    await launchDaemon(node.daemon);
  }

  /** The span of the call of a trace, which is below the client's. */
  function callOf(method: string, traceId: string): ReceivedSpan {
    const span = collector.callOf(method, traceId);
    assert.ok(span, `${method} in ${JSON.stringify(collector.spans.map(({ name }) => name))}`);
    assert.equal(span.parentId, kubelet.parentId);
    assert.equal(span.traceState, "rojo=00f067aa0ba902b7");
    assert.equal(span.kind, server);
    assert.equal(span.attributes["rpc.system"], "grpc");
    for (const other of collector.spans.filter((each) => each.traceId === traceId)) {
      assert.ok(other.startNs <= other.endNs, other.name);
      assert.ok(other.startNs >= span.startNs, other.name);
    }
    return span;
  }

  const { method: runtime } = RuntimeService;

  test(
    "a pod and a container, from the client's span down to the plugins",
    leaklessAcross(served, async () => {
      const config = pod();
      const made = await kubelet.call(runtime.runPodSandbox, { config });
      const id = made.answer?.podSandboxId ?? "";
      const subject = { daemon: node.daemon, id, config };
      const envs = [{ key: "PASSWORD", value: Buffer.from(secret) }];
      const request = requestIn(subject, container({ envs }));
      const created = await kubelet.call(runtime.createContainer, request);
      const containerId = created.answer?.containerId ?? "";
      const started = await kubelet.call(runtime.startContainer, { containerId });
      const probe = { containerId, cmd: ["echo", secret] };
      const probed = await kubelet.call(runtime.execSync, probe);
      // Without a client's span and with the ratio 0, nothing is recorded.
      await node.daemon.client.runtime.containerStatus({ containerId });
      await removePod(node.daemon, id);
      await flushed();

      const run = callOf("RunPodSandbox", made.traceId);
      assert.equal(run.name, "runtime.v1.RuntimeService/RunPodSandbox");
      assert.deepEqual(collector.below(run), [
        [
          "run pod sandbox",
          [
            "write record",
            "prepare cgroup",
            "make directories",
            "pin namespaces",
            "write network record",
            "network plugin bridge",
            "network plugin portmap",
            "make files",
            "start holder",
            "write sysctls",
            "finish record",
          ],
        ],
      ]);
      const { namespace, name } = config.metadata ?? {};
      const podFacts = {
        "k8s.namespace.name": namespace,
        "k8s.pod.name": name,
        "davit.sandbox.id": id,
      };
      const whole = { ...podFacts, "rpc.grpc.status_code": 0n };
      assert.deepEqual({ ...run.attributes, ...whole }, run.attributes);
      const create = callOf("CreateContainer", created.traceId);
      assert.deepEqual(
        { ...create.attributes, ...podFacts, "container.id": containerId },
        create.attributes,
      );
      const below = JSON.stringify(collector.below(create));
      assert.match(
        below,
        /^\[\["create container",\["write record",.*"mount root",.*"finish record"\]\]\]$/,
      );
      const start = JSON.stringify(collector.below(callOf("StartContainer", started.traceId)));
      assert.match(
        start,
        /^\[\["start container",\["OCI runtime create","OCI runtime start","build spec",.*"create process",.*"start process",/,
      );
      const exec = callOf("ExecSync", probed.traceId);
      assert.match(
        JSON.stringify(collector.below(exec)),
        /^\[\["exec sync",\["davit-exec",.*"start process"/,
      );
      assert.equal(exec.attributes["davit.exit_code"], 0n);

      assert.equal(collector.callOf("ContainerStatus"), undefined);
      assert.equal(collector.callOf("RemovePodSandbox"), undefined);
      const sent = JSON.stringify(collector.spans, (_, value: unknown) =>
        typeof value === "bigint" ? String(value) : value,
      );
      assert.ok(!sent.includes(secret));
      assert.equal(collector.resource["service.name"], "davit-test");
      const { authorization, "x-scope-orgid": tenant } = collector.requests[0] ?? {};
      assert.equal(authorization, `Basic ${Buffer.from(`user:${secret}`).toString("base64")}`);
      assert.equal(tenant, `tenant-${secret}`);
    }),
  );

  test("a pull: the manifest, and each layer below it", async () => {
    const layers = [busyboxLayer(), layerOf([{ path: "data", body: "x".repeat(1000) }])];
    await node.registry.push("e2e/traced", imageOf(layers), ["1"]);
    const image = { image: "registry.k8s.io/e2e/traced:1" };
    const pulled = await kubelet.call(ImageService.method.pullImage, { image });
    assert.ok(pulled.answer);
    await flushed();
    const call = callOf("PullImage", pulled.traceId);
    assert.equal(call.attributes["container.image.name"], image.image);
    assert.equal(call.attributes["container.image.id"], pulled.answer.imageRef);
    // The layer of busybox is there already.
    assert.deepEqual(collector.below(call), [
      [
        "pull image",
        [
          "resolve",
          "fetch config",
          [
            "fetch layers",
            [
              [
                "pull layer",
                ["download layer", "open blob", "make directory", "unpack", "publish"],
              ],
            ],
          ],
          "complete layers",
          "write record",
        ],
      ],
    ]);
    const download = collector.spans.find(({ name }) => name === "download layer");
    const size = download?.attributes["davit.layer.bytes"];
    assert.ok(typeof size === "bigint" && size > 0n);
    await node.daemon.client.image.removeImage({ image });
  });

  test("failed calls have the code and the message, without secrets", async () => {
    const metadata = { name: "web", namespace: "ns", uid: "u", attempt: 0 };
    const image = { image: "registry.k8s.io/e2e/none:1" };
    const auth = { username: "me", password: secret };
    const request = { image, auth, sandboxConfig: { metadata } };
    const missing = await kubelet.call(ImageService.method.pullImage, request);
    const unknown = await kubelet.call(runtime.startContainer, { containerId: "none" });
    const subject = { daemon: node.daemon, id: await runPod(node.daemon, bare()), config: bare() };
    const { containerId } = await node.daemon.client.runtime.createContainer(
      requestIn(subject, script("", { command: ["/no/such/program"] })),
    );
    const failed = await kubelet.call(runtime.startContainer, { containerId });
    await removePod(node.daemon, subject.id);
    await flushed();

    const pull = callOf("PullImage", missing.traceId);
    assert.equal(pull.attributes["rpc.grpc.status_code"], 5n);
    assert.match(pull.error ?? "", /^pull image "registry\.k8s\.io\/e2e\/none:1"/);
    assert.ok(!(pull.error ?? "").includes(secret));
    assert.equal(callOf("StartContainer", unknown.traceId).attributes["rpc.grpc.status_code"], 5n);
    callOf("StartContainer", failed.traceId);
    const errors = collector.spans
      .filter(({ traceId, error }) => traceId === failed.traceId && error !== undefined)
      .map(({ name }) => name);
    assert.deepEqual(errors.toSorted(), [
      "OCI runtime create",
      "create process",
      "runtime.v1.RuntimeService/StartContainer",
      "start container",
    ]);
  });

  test("neither the log nor the verbose Status has credentials of the collector", async () => {
    const config = JSON.stringify(await runtimeFact(node.daemon, "config"));
    assert.match(config, /"tracing":\{"endpoint":"http:\/\/\*\*\*@127\.0\.0\.1:\d+\/"/);
    assert.match(config, /"X-Scope-OrgID":"\*\*\*"/);
    await node.daemon.waitForLine(/"message":"tracing"/);
    for (const text of [config, ...node.daemon.lines.map((line) => line.text)]) {
      assert.ok(!text.includes(secret), text);
      assert.ok(!text.includes(Buffer.from(`user:${secret}`).toString("base64")), text);
    }
  });
});

describe("a collector that", () => {
  let collector: TestCollector;
  before(async () => {
    collector = await TestCollector.start();
  });
  after(() => collector[Symbol.asyncDispose]());

  /** Uses a daemon that records all calls, and returns what it logged. */
  async function withDaemon(
    changes: ConfigTable,
    use: (daemon: TestDaemon) => Promise<void>,
  ): Promise<TestDaemon["lines"]> {
    const tracing = { endpoint: collector.endpoint, sampling_ratio: 1, ...changes };
    const daemon = await startDaemon({ config: { tracing } });
    try {
      const from = collector.spans.length;
      await removePod(daemon, await runPod(daemon, bare()));
      await use(daemon);
      assert.ok(collector.spans.length > from || changes["endpoint"] !== undefined);
      await daemon.stop();
      return [...daemon.lines];
    } finally {
      await endDaemon(await launched(daemon));
    }
  }

  /** endDaemon() asks it for its pods. */
  async function launched(daemon: TestDaemon): Promise<TestDaemon> {
    collector.answer = (response) => void response.end();
    await daemon.stop();
    await launchDaemon(daemon);
    return daemon;
  }

  const dropped = (lines: TestDaemon["lines"]): readonly unknown[] =>
    lines
      .filter(({ fields }) => fields["message"] === "trace spans were dropped")
      .map(({ fields }) => fields["reason"]);

  /** Resolves when the collector has got the first request after `answer` was set. */
  async function asked(answer: Answer): Promise<void> {
    let requests = 0;
    collector.answer = (response) => {
      requests += 1;
      answer(response);
    };
    await until("the collector is asked", () => requests > 0);
  }

  test("accepts the spans gets those of all calls", async () => {
    const lines = await withDaemon({}, async () => {
      await until("spans are sent", () => collector.callOf("RemovePodSandbox"));
      assert.ok(collector.callOf("RunPodSandbox"));
    });
    assert.deepEqual(dropped(lines), []);
  });

  test("is gone does not disturb, and the log says so", async () => {
    const gone = await TestCollector.start();
    const { endpoint } = gone;
    await gone[Symbol.asyncDispose]();
    const lines = await withDaemon({ endpoint }, () => Promise.resolve());
    const reasons = dropped(lines);
    assert.equal(reasons.length, 1);
    assert.match(String(reasons[0]), /ECONNREFUSED/);
  });

  test("does not answer does not delay the end of the daemon", async () => {
    const lines = await withDaemon({}, () => asked(() => undefined));
    // The limit of the flush, and not that of the request, has ended it.
    assert.deepEqual(dropped(lines), ["did not answer before davit stopped"]);
  });

  test("answers something else is named in the log", async () => {
    const lines = await withDaemon({}, () =>
      asked((response) => {
        response.writeHead(200, { "content-type": "text/html" }).end("<html>hello</html>");
      }),
    );
    assert.match(String(dropped(lines)[0]), /not OTLP\/HTTP; check tracing\.endpoint/);
  });

  test("is busy gets the same spans again", async () => {
    const lines = await withDaemon({}, async () => {
      const from = collector.spans.length;
      await asked((response) => {
        collector.answer = (later) => void later.end();
        response.writeHead(503, { "retry-after": "1" }).end();
      });
      const ids = (): readonly string[] => collector.spans.slice(from).map(({ spanId }) => spanId);
      await until("they come again", () => ids().length > new Set(ids()).size);
    });
    assert.deepEqual(dropped(lines), []);
  });
});
