// What tests of CniNetwork have in common: a directory of configurations, and plugins that a test plays itself.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import type { Attachment, NetworkRequest } from "../../../core/network/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { CniNetwork, type CniNetworkOptions } from "../cni-network.ts";
import type { PluginCall, PluginExit } from "../plugin-exec.ts";

export const request: NetworkRequest = {
  sandboxId: "s1",
  netnsPath: "/run/netns/s1",
  podName: "web",
  podNamespace: "shop",
  podUid: "u1",
  annotations: {},
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIp: "" }],
  dns: { servers: [], searches: [], options: [] },
  cgroupPath: "",
};

export const bridgeResult = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: "/run/netns/s1" }],
  ips: [{ address: "10.0.0.2/24", interface: 1 }],
};

export const chain = [
  { type: "bridge", ipam: { type: "host-local" } },
  { type: "portmap", capabilities: { portMappings: true } },
];

interface Call {
  readonly plugin: string;
  readonly command: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly config: Readonly<Record<string, unknown>>;
}

export const exit = (code: number, stdout: string, stderr = ""): PluginExit => ({
  code,
  signal: null,
  stdout: Buffer.from(stdout),
  stderr: Buffer.from(stderr),
});
export const ok = (answer: object): PluginExit => exit(0, JSON.stringify(answer));
export const fail = (code: number, msg: string, details = ""): PluginExit =>
  exit(1, JSON.stringify({ cniVersion: "1.0.0", code, msg, details }));
export const signal = new AbortController().signal;

/** A network for each test of a file, with plugins "bridge" and "portmap". */
export class CniFixture {
  base = "";
  calls: Call[] = [];
  /** What happened, in order: stages, records, plugin calls. */
  marks: string[] = [];
  recorded: Attachment[] = [];
  /** How the plugins answer. */
  behave: (call: Call, raw: PluginCall) => PluginExit | Promise<PluginExit> = () => exit(0, "");
  #networks: CniNetwork[] = [];

  /** Registers the hooks of the calling test file. */
  constructor() {
    beforeEach(() => {
      this.base = mkdtempSync(join(tmpdir(), "cni-network-"));
      mkdirSync(join(this.base, "net.d"));
      mkdirSync(join(this.base, "bin"));
      for (const type of ["bridge", "portmap"]) {
        writeFileSync(join(this.base, "bin", type), "#!/bin/sh\n", { mode: 0o755 });
      }
      this.write();
      this.calls = [];
      this.marks = [];
      this.recorded = [];
      this.#networks = [];
      this.behave = ({ command }) => (command === "ADD" ? ok(bridgeResult) : exit(0, ""));
    });
    afterEach(async () => {
      for (const network of this.#networks) await network[Symbol.asyncDispose]();
      rmSync(this.base, { recursive: true });
    });
  }

  get lastRecord(): Attachment {
    return this.recorded.at(-1) ?? assert.fail("nothing is recorded");
  }

  readonly file = (): string => join(this.base, "net.d", "1.conflist");

  readonly write = (more: object = {}): void => {
    const list = { cniVersion: "1.0.0", name: "pods", plugins: chain, ...more };
    writeFileSync(this.file(), JSON.stringify(list));
  };

  readonly open = async (more: Partial<CniNetworkOptions> = {}): Promise<CniNetwork> => {
    const network = await CniNetwork.open({
      confDir: join(this.base, "net.d"),
      binDirs: [join(this.base, "empty"), join(this.base, "bin")],
      bootId: "boot-1",
      log: silentLogger,
      rescanIntervalMs: 3_600_000,
      statusIntervalMs: 3_600_000,
      env: { PATH: "/bin", CNI_NETNS: "/inherited" },
      isNamespaceMounted: () => true,
      exec: async (raw) => {
        const call: Call = {
          plugin: raw.file.slice(raw.file.lastIndexOf("/") + 1),
          command: raw.env["CNI_COMMAND"],
          env: raw.env,
          config: JSON.parse(raw.input) as Record<string, unknown>,
        };
        this.calls.push(call);
        this.marks.push(`${call.command ?? ""} ${call.plugin}`);
        return this.behave(call, raw);
      },
      ...more,
    });
    this.#networks.push(network);
    return network;
  };

  readonly operation = (signal = new AbortController().signal): Operation => ({
    signal,
    log: silentLogger,
    undoing: () => Promise.resolve(),
    failedIn: () => undefined,
    workOn: (stage, plugin) => this.marks.push(`${stage} ${plugin}`),
    enter: async (stage) => {
      signal.throwIfAborted();
      this.marks.push(stage);
    },
  });

  readonly record = (attachment: Attachment): void => {
    this.marks.push(attachment.result === undefined ? "record" : "record result");
    this.recorded.push(attachment);
  };

  readonly add = (network: CniNetwork, more: Partial<NetworkRequest> = {}): Promise<unknown> =>
    network.add({ ...request, ...more }, this.operation(), this.record);
}
