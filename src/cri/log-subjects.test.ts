import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../base/errors.ts";
import {
  CreateContainerRequestSchema,
  ExecRequestSchema,
  PullImageRequestSchema,
  RunPodSandboxRequestSchema,
  StopContainerRequestSchema,
  StopPodSandboxRequestSchema,
} from "../gen/runtime/v1/api_pb.ts";
import {
  ExecRequestSchema as DavitExecSchema,
  ExecResponseSchema,
} from "../gen/davit/v1/containers_pb.ts";
import type { CriContext } from "./context.ts";
import { containerSubjects, imageSubjects, runtimeSubjects } from "./log-subjects.ts";

const metadata = { name: "web", namespace: "default", uid: "u", attempt: 0 };
const sandbox = { id: "5a4db0", config: { metadata }, state: { name: "stopped" } };
const container = {
  id: "c0ffee",
  sandboxId: sandbox.id,
  config: { metadata: { name: "app", attempt: 0 } },
  image: { shown: "docker.io/library/busybox:1", id: "sha256:1" },
  state: { name: "running" },
};

const { createContainer, exec, runPodSandbox, stopContainer, stopPodSandbox } = runtimeSubjects;
const { pullImage } = imageSubjects;
assert.ok(createContainer && exec && runPodSandbox && stopContainer && pullImage);
assert.ok(stopPodSandbox);

/** What a store finds by a prefix of an id. */
const storeOf = <T extends { readonly id: string }>(one: T) => ({
  find: (text: string) => {
    if (text === "") throw new RuntimeError("invalid-argument", "the id is empty");
    return one.id.startsWith(text) ? one : undefined;
  },
  peek: (id: string) => (id === one.id ? one : undefined),
});

// Only this part of the context is used.
const context = {
  sandboxes: { store: storeOf(sandbox) },
  containers: { store: storeOf(container) },
  images: { store: { find: () => ({ sizeBytes: 1234n }) } },
} as unknown as CriContext;

const whole = {
  pod: "default/web",
  sandbox: "5a4db0",
  containerName: "app",
  container: "c0ffee",
  image: "docker.io/library/busybox:1",
  imageId: "sha256:1",
};

test("a call has its pod and container, also for a prefix of the id", () => {
  const request = create(StopContainerRequestSchema, { containerId: "c0f", timeout: 30n });
  assert.deepEqual(stopContainer.asked(request, context), {
    ...whole,
    graceSeconds: 30,
  });
  const none = stopContainer.asked({ ...request, containerId: "" }, context);
  assert.deepEqual(none, { container: "", graceSeconds: 30 });
});

test("a create has its name, and then its id", () => {
  const run = create(RunPodSandboxRequestSchema, { config: { metadata } });
  assert.deepEqual(runPodSandbox.asked(run, context), { pod: "default/web" });
  assert.deepEqual(runPodSandbox.got?.({ podSandboxId: "id" }, context), {
    sandbox: "id",
  });
  const config = {
    metadata: { name: "app" },
    image: { image: "sha256:1", userSpecifiedImage: "app:2" },
    envs: [{ key: "PASSWORD", value: Buffer.from("swordfish") }],
  };
  const request = create(CreateContainerRequestSchema, { podSandboxId: "5a", config });
  assert.deepEqual(createContainer.asked(request, context), {
    pod: "default/web",
    sandbox: "5a4db0",
    containerName: "app",
    image: "app:2",
  });
});

test("a pull has its size, and no credentials", () => {
  const auth = { username: "me", password: "swordfish" };
  const request = create(PullImageRequestSchema, { image: { image: "app:2" }, auth });
  assert.deepEqual(pullImage.asked(request, context), { image: "app:2" });
  assert.deepEqual(pullImage.got?.({ imageRef: "sha256:1" }, context), {
    imageId: "sha256:1",
    bytes: 1234,
  });
});

test("long texts of a client are cut", () => {
  const long = "x".repeat(1_000_000);
  const request = create(ExecRequestSchema, { containerId: "c0", cmd: ["sh", "-c", long, long] });
  const asked = exec.asked(request, context);
  const command = ["sh", "-c", `${"x".repeat(250)}...`, "..."];
  assert.deepEqual(asked, { ...whole, command, tty: false });
  const name = { ...metadata, name: long };
  const run = create(RunPodSandboxRequestSchema, { config: { metadata: name } });
  assert.ok(JSON.stringify(runPodSandbox.asked(run, context)).length < 300);
});

test("a stop or removal that has nothing to do says so", () => {
  const asked = (podSandboxId: string): unknown =>
    stopPodSandbox.asked(create(StopPodSandboxRequestSchema, { podSandboxId }), context);
  assert.deepEqual(asked("5a"), { pod: "default/web", sandbox: "5a4db0", already: "stopped" });
  assert.deepEqual(asked("none"), { sandbox: "none", already: "removed" });
  const stop = create(StopContainerRequestSchema, { containerId: "gone", timeout: 1n });
  assert.deepEqual(stopContainer.asked(stop, context), {
    container: "gone",
    already: "removed",
    graceSeconds: 1,
  });
});

test("an exec of davit's own has its command and user, and nothing that may be secret", () => {
  const davitExec = containerSubjects.exec;
  assert.ok(davitExec?.got);
  const value = Buffer.from("secret");
  const start = create(DavitExecSchema, {
    part: {
      case: "start",
      value: { containerId: "c0f", command: ["sh"], user: "app", env: [{ name: "TOKEN", value }] },
    },
  });
  const { pod, sandbox: of, containerName, container: named, image, imageId } = whole;
  assert.deepEqual(davitExec.asked(start, context), {
    ...{ pod, sandbox: of, containerName, container: named, image, imageId },
    ...{ command: ["sh"], tty: false, user: "app" },
  });
  const stdin = create(DavitExecSchema, { part: { case: "stdin", value } });
  assert.deepEqual(davitExec.asked(stdin, context), {});
  const end = create(ExecResponseSchema, { part: { case: "end", value: { exitCode: 3 } } });
  assert.deepEqual(davitExec.got(end, context), { exitCode: 3 });
});
