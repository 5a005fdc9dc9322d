import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { CriClient } from "../../client/cri-client.ts";
import { ContainerState, ImageService, RuntimeService } from "../../gen/runtime/v1/api_pb.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import type { Method } from "../../wire/grpc/call.ts";
import type { Server } from "../server/session.ts";
import { Sampler } from "./sample.ts";
import { container, pod } from "./testing/samples.ts";

const exited = { state: ContainerState.CONTAINER_EXITED };

/** Answers of a CRI server by method. */
type Answers = Readonly<Record<string, (request: unknown) => object>>;

const answers: Answers = {
  listPodSandbox: () => ({ items: [pod("p", "default/web")] }),
  listContainers: () => ({
    containers: [container("c", "p", exited), container("d", "p", exited)],
  }),
  listContainerStats: () => ({ stats: [] }),
  containerStatus: (request) => ({ status: { ...(request as object), exitCode: 3 } }),
  imageFsInfo: () => ({ imageFilesystems: [{ usedBytes: { value: 7n } }] }),
};

/** Serves the answers, and records the calls. */
async function fakeServer(status: () => object, more: Answers = {}) {
  const calls: string[] = [];
  const all: Answers = { ...answers, status, ...more };
  const methods = [...RuntimeService.methods, ...ImageService.methods].flatMap((method) => {
    const answer = all[method.localName];
    if (answer === undefined) return [];
    const output: DescMessage = method.output;
    const handler: Method = {
      kind: "unary",
      handle: async (bytes) => {
        const request = decodeMessage(method.input, bytes);
        const isVerbose = "verbose" in request && request.verbose === true;
        calls.push(`${method.localName}${isVerbose ? " verbose" : ""}`);
        return toBinary(output, create(output, answer(request) as MessageInitShape<DescMessage>));
      },
    };
    return [[`/${method.parent.typeName}/${method.name}`, handler] as const];
  });
  const serving = await serve({}, { methods: new Map(methods) });
  const client = new CriClient(serving.path);
  const server: Server = {
    client,
    endpoint: { address: serving.path, chosenBy: "default" },
    signal: new AbortController().signal,
    limit: (timeoutMs = 10_000) => ({ timeoutMs }),
    unlimited: () => ({}),
  };
  return {
    server,
    /** The calls since the last one of this function. */
    calls: () => calls.splice(0).sort(),
    async [Symbol.asyncDispose]() {
      client.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

const perSample = ["listContainerStats", "listContainers", "listPodSandbox"];
const davitStatus = () => ({
  status: { conditions: [{ type: "RuntimeReady", status: true }] },
  info: { inflight: "[]", lastFailures: "[]", pulls: "[]" },
});

test("Sampler makes one call of each list for a sample, and asks for an exit once", async () => {
  await using fake = await fakeServer(davitStatus);
  const sampler = new Sampler(fake.server, 1);
  const first = await sampler.take({ network: false });
  const once = ["containerStatus", "imageFsInfo"];
  assert.deepEqual(fake.calls(), [...once, ...perSample, "status verbose"].sort());
  assert.deepEqual([first.imageBytes, first.ends.size, first.node.ready], [7, 1, true]);
  assert.equal(first.node.networkReady, false);
  const second = await sampler.take({ network: false });
  assert.deepEqual(fake.calls(), ["containerStatus", ...perSample, "status verbose"].sort());
  assert.deepEqual([...second.ends.keys()], ["c", "d"]);
  await sampler.take({ network: false });
  assert.deepEqual(fake.calls(), [...perSample, "status verbose"].sort());
});

test("Sampler works with servers that report less, and asks those for less", async () => {
  const status = () => ({ status: { conditions: [] }, info: { config: "{}", inflight: "x" } });
  await using fake = await fakeServer(status);
  const sampler = new Sampler(fake.server);
  const { node, network } = await sampler.take({ network: true });
  assert.deepEqual([node.activity, network.size], [undefined, 0], "no ListPodSandboxStats");
  fake.calls();
  await sampler.take({ network: false });
  assert.deepEqual(fake.calls(), [...perSample, "status"].sort(), "not verbose");
});

test("Sampler requests the network only when it is shown", async () => {
  const linux = {
    network: { defaultInterface: { rxBytes: { value: 5n }, txBytes: { value: 6n } } },
  };
  const listPodSandboxStats = () => ({ stats: [{ attributes: { id: "p" }, linux }] });
  await using fake = await fakeServer(davitStatus, { listPodSandboxStats });
  const sampler = new Sampler(fake.server);
  const { network } = await sampler.take({ network: true });
  assert.deepEqual(network, new Map([["p", { rxBytes: 5, txBytes: 6 }]]));
  assert.ok(fake.calls().includes("listPodSandboxStats"));
  await sampler.take({ network: false });
  assert.equal(fake.calls().includes("listPodSandboxStats"), false);
});
