// A plugin of the SDK that is connected to a fake runtime, and the objects in its requests.
import assert from "node:assert/strict";
import path from "node:path";
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import { Plugin as Service } from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { scratchDirectory } from "../../wire/grpc/testing/serving.ts";
import { type Handlers, type NriPlugin, type PluginOptions, plugin } from "../index.ts";
import { FakeRuntime, type RegisteredPlugin } from "./fake-runtime.ts";

/** The methods of plugins. */
export const { method } = Service;
/** A pod, as the runtime describes it. */
export const pod = { id: "p1", name: "web", namespace: "default", annotations: { team: "blue" } };
/** A container of the pod. */
export const container = { id: "c1", podSandboxId: "p1", name: "app", args: ["/app", "--verbose"] };

/** A runtime, and a plugin with these handlers that has registered. The runtime has not configured it. */
export async function registering(
  options: PluginOptions,
  work: (registered: RegisteredPlugin, local: NriPlugin, connected: Promise<void>) => Promise<void>,
): Promise<void> {
  await using directory = await scratchDirectory();
  const socket = path.join(directory.path, "nri.sock");
  await using runtime = await FakeRuntime.listen(socket);
  const local = plugin({ name: "test", index: 7, ...options });
  const connected = local.connect(socket);
  connected.catch(() => undefined);
  try {
    await work(await runtime.registered(), local, connected);
  } finally {
    local.close();
  }
}

/** The same, configured by the newest runtime. */
export function connected(
  handlers: Handlers,
  work: (registered: RegisteredPlugin, local: NriPlugin) => Promise<void>,
): Promise<void> {
  return registering(handlers, async (registered, local, done) => {
    await registered.configure();
    await done;
    await work(registered, local);
  });
}

/** Calls a method by its name, whatever its types are. */
export function callAny(
  to: RegisteredPlugin,
  name: keyof typeof method,
  request: Record<string, unknown>,
): Promise<object> {
  const any: DescMethodUnary = method[name];
  return to.call(any, request);
}

/** The message of the error with which a promise is rejected. */
export const rejection = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => assert.fail("it did not fail"),
    (error: unknown) => messageOf(error),
  );
