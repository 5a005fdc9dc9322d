import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { type LogFields, silentLogger } from "../../base/logger.ts";
import type { RuntimeFeatures } from "../../core/handler/index.ts";
import { ConfiguredHandlers, type HandlerDefinition } from "./configured-handlers.ts";

const plain: HandlerDefinition = {
  controller: "podsandbox",
  path: "crun",
  runtimeType: "",
  runtimePath: "",
  ioType: "fifo",
  options: {},
  podAnnotations: [],
  containerAnnotations: [],
  privilegedWithoutHostDevices: false,
  privilegedWithoutHostDevicesAllDevicesAllowed: false,
  cgroupWritable: false,
  baseRuntimeSpec: "",
  hooksDir: "",
  writableLayerLimit: -1,
  defaultAnnotations: {},
  seccompProfile: "",
  createTimeoutSeconds: 0,
  execCpuAffinity: "",
};
const able: RuntimeFeatures = {
  mountOptions: ["ro", "rro"],
  idMappedMounts: true,
  seccomp: true,
};
const kata: HandlerDefinition = { ...plain, controller: "shim", path: "", runtimeType: "io.kata" };

function handlersWith(
  handlers: Readonly<Record<string, HandlerDefinition>>,
  readFeatures = (path: string): Promise<RuntimeFeatures> =>
    path === "crun" ? Promise.resolve(able) : Promise.reject(new Error(`no ${path}`)),
): ConfiguredHandlers {
  const shims = {
    shimProgram: (type: string, path: string) => {
      if (type === "io.none") throw new Error(`no shim for ${type}${path}`);
      return "/usr/bin/shim";
    },
    encodeOptions: () => undefined,
    isRuncType: () => false,
    runtimeOfOptions: () => "",
    obstacleToRestores: () => undefined,
  };
  return new ConfiguredHandlers({ defaultHandler: "crun", handlers, shims, readFeatures });
}

describe("ConfiguredHandlers.bind()", () => {
  test("gives the default handler for an empty name, and keeps what was requested", () => {
    const handlers = handlersWith({ crun: plain });
    const bound = { requested: "", name: "crun", controller: "podsandbox", path: "crun" };
    assert.deepEqual(handlers.bind(""), bound);
    assert.deepEqual(handlers.bind("crun"), { ...bound, requested: "crun" });
  });

  test("rejects an unknown name with the list of handlers, also a name of Object's", () => {
    const handlers = handlersWith({ crun: plain, kata });
    for (const name of ["gvisor", "constructor"]) {
      assert.throws(
        () => handlers.bind(name),
        (error) =>
          isKind(error, "invalid-argument") &&
          /crun, kata; .* \[runtime\.handlers\.\w+\]/.test(String(error)),
      );
    }
  });

  test("keeps with the sandbox what its shim needs, and rejects a shim without a program", () => {
    const handlers = handlersWith({
      crun: plain,
      kata: { ...kata, options: { debug: true } },
      none: { ...kata, runtimeType: "io.none" },
    });
    assert.deepEqual(handlers.bind("kata"), {
      requested: "kata",
      name: "kata",
      controller: "shim",
      runtimeType: "io.kata",
      options: { debug: true },
    });
    assert.throws(() => handlers.bind("none"), /no shim for io\.none/);
  });
});

describe("the features of handlers", () => {
  test("are those of their runtimes, the default handler's first under an empty name", async () => {
    const handlers = handlersWith({ crun: plain, odd: { ...plain, path: "odd" } });
    await handlers.probe(silentLogger);
    const found = await handlers.features();
    assert.deepEqual(
      found.map(({ name, recursiveReadOnlyMounts }) => [name, recursiveReadOnlyMounts]),
      [
        ["", true],
        ["crun", true],
        ["odd", false],
      ],
    );
    assert.deepEqual(await handlers.runtimeFeatures(handlers.bind("crun")), able);
    const least = { mountOptions: [], idMappedMounts: false, seccomp: true };
    assert.deepEqual(await handlers.runtimeFeatures(handlers.bind("odd")), least);
  });

  test("have checkpoints where the runtime was built with CRIU and a shim in between restores", async () => {
    const withCriu = { ...able, checkpoints: true };
    const shim = { ...kata, options: { BinaryName: "crun" } };
    const deps = {
      defaultHandler: "shim",
      handlers: {
        crun: plain,
        restoring: { ...shim, controller: "podsandbox", options: { BinaryName: "runc" } },
        sandboxer: { ...shim, options: { BinaryName: "runc" } },
        shim,
        without: { ...plain, path: "other" },
      },
      readFeatures: (path: string) => Promise.resolve(path === "crun" ? withCriu : able),
      shims: {
        shimProgram: () => "/usr/bin/shim",
        encodeOptions: () => undefined,
        isRuncType: () => true,
        runtimeOfOptions: () => "crun",
        obstacleToRestores: ({ BinaryName }: Readonly<Record<string, unknown>>) =>
          BinaryName === "runc" ? undefined : "it cannot",
      },
    };
    const handlers = new ConfiguredHandlers(deps);
    await handlers.probe(silentLogger);
    const found = (await handlers.features()).map(({ name, checkpoints }) => [name, checkpoints]);
    assert.deepEqual(found, [
      ["", false],
      ["crun", true],
      ["restoring", true],
      ["sandboxer", false],
      ["shim", false],
      ["without", false],
    ]);
  });

  test("are those of the runtime that a pod has, also after a reload that changes the path", async () => {
    const least = { mountOptions: [], idMappedMounts: false, seccomp: true };
    const asked: string[] = [];
    const known: Readonly<Record<string, RuntimeFeatures>> = { crun: able, newer: least };
    const handlers = handlersWith({ crun: plain }, (path) => {
      asked.push(path);
      const features = known[path];
      return features === undefined
        ? Promise.reject(new Error(`no ${path}`))
        : Promise.resolve(features);
    });
    await handlers.probe(silentLogger);
    const before = handlers.bind("crun");
    const changed = { crun: { ...plain, path: "newer" } };
    const use = await handlers.prepare({ defaultHandler: "crun", handlers: changed });
    use();
    const after = handlers.bind("crun");
    assert.deepEqual([before.path, after.path], ["crun", "newer"]);
    assert.deepEqual(await handlers.runtimeFeatures(before), able);
    assert.deepEqual(await handlers.runtimeFeatures(after), least);
    assert.deepEqual(
      (await handlers.features()).map(({ recursiveReadOnlyMounts }) => recursiveReadOnlyMounts),
      [false, false],
    );
    // Back to the one of before: it may be another version by now.
    const back = await handlers.prepare({ defaultHandler: "crun", handlers: { crun: plain } });
    back();
    assert.deepEqual(asked, ["crun", "newer", "crun"]);
  });

  test("of a pod's runtime that the configuration does not name any more are asked once", async () => {
    let count = 0;
    const handlers = handlersWith({ crun: plain }, () => {
      count += 1;
      return Promise.resolve(able);
    });
    await handlers.probe(silentLogger);
    const earlier = { ...handlers.bind("crun"), path: "/opt/crun" };
    assert.deepEqual(await handlers.runtimeFeatures(earlier), able);
    assert.deepEqual(await handlers.runtimeFeatures(earlier), able);
    assert.equal(count, 2);
  });

  test("are waited for until the runtime has answered", async () => {
    const answer = Promise.withResolvers<RuntimeFeatures>();
    const handlers = handlersWith({ crun: plain }, () => answer.promise);
    let isAnswered = false;
    const features = handlers.features().then((found) => {
      isAnswered = true;
      return found;
    });
    const probed = handlers.probe(silentLogger);
    await new Promise(setImmediate);
    assert.equal(isAnswered, false);
    answer.resolve(able);
    await probed;
    assert.equal((await features)[0]?.recursiveReadOnlyMounts, true);
  });

  test("are missing where a runtime does not answer, which the log names with its setting", async () => {
    const lines: [string, LogFields | undefined][] = [];
    const log = {
      ...silentLogger,
      warn: (text: string, fields?: LogFields) => lines.push([text, fields]),
    };
    const handlers = handlersWith({ crun: { ...plain, path: "gone" } });
    await handlers.probe(log);
    assert.equal(lines.length, 1);
    assert.match(lines[0]?.[0] ?? "", /handler "crun" will fail to start.*runtime\.handlers\.crun/);
    await assert.rejects(
      handlers.checkUserNamespaces(handlers.bind("crun")),
      (error) => isKind(error, "failed-precondition") && /"crun"/.test(String(error)),
    );
  });

  test("one whose runtime ignores a setting of it is named in the log as an error", async () => {
    const lines: string[] = [];
    const log = { ...silentLogger, error: (text: string) => lines.push(text) };
    const first: HandlerDefinition = { ...plain, execCpuAffinity: "first" };
    await handlersWith({ crun: plain, web: first }).probe(log);
    assert.match(lines.join(), /^containers of handler "web" are rejected: .*exec_cpu_affinity/);
    lines.length = 0;
    const starts = (): Promise<RuntimeFeatures> =>
      Promise.resolve({ ...able, optionalFields: ["process.execCPUAffinity"] });
    await handlersWith({ web: first }, starts).probe(log);
    assert.deepEqual(lines, []);
  });

  test("createMsOf() is the handler's own time, if it has one", () => {
    const handlers = handlersWith({ crun: plain, slow: { ...plain, createTimeoutSeconds: 300 } });
    const ms = (name: string): number | undefined => handlers.createMsOf(handlers.bind(name));
    assert.deepEqual([ms("crun"), ms("slow")], [undefined, 300_000]);
  });

  test("settings fall back to the defaults once the handler has been removed", () => {
    const before = handlersWith({ crun: plain, web: { ...plain, cgroupWritable: true } });
    const bound = before.bind("web");
    assert.equal(before.settings(bound).cgroupWritable, true);
    assert.equal(handlersWith({ crun: plain }).settings(bound).cgroupWritable, false);
  });
});
