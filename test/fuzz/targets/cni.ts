/** What CNI plugins answer, their configurations, and what goes to them. */
import assert from "node:assert/strict";
import { isIP } from "node:net";

import fc from "fast-check";

import { parseCidr, parsePodCidrs } from "../../../src/drivers/cni/attachment-args.ts";
import { podBandwidth } from "../../../src/drivers/cni/bandwidth.ts";
import {
  type NetworkList,
  parseNetworkList,
  parseSinglePlugin,
  withPluginFiles,
} from "../../../src/drivers/cni/conflist.ts";
import { pluginError } from "../../../src/drivers/cni/plugin-error.ts";
import { parseResult, podAddresses } from "../../../src/drivers/cni/result.ts";
import { supportedVersions } from "../../../src/drivers/cni/version.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const address = fc.constantFrom(
  "10.0.0.2/24",
  "fd00::2/64",
  "10.0.0.2",
  "10.0.0.2/33",
  "::1%lo/1",
  "",
);
const result = fc.record(
  {
    cniVersion: fc.constantFrom(...supportedVersions, "9.9.9"),
    interfaces: fc.array(
      fc.record({
        name: fc.constantFrom("eth0", "veth1"),
        sandbox: fc.constantFrom("/ns", "", null),
      }),
      { maxLength: 3 },
    ),
    ips: fc.array(
      fc.record(
        {
          address,
          interface: fc.constantFrom(0, 1, 2, -1, 1.5, null, "0"),
          version: fc.constant("4"),
        },
        { requiredKeys: ["address"] },
      ),
      { maxLength: 3 },
    ),
    dns: fc.constant({}),
    __proto__: fc.constant({}),
  },
  { requiredKeys: [] },
);

function checkList(list: NetworkList): void {
  assert.match(list.name, /^[a-zA-Z0-9][\w.-]*$/);
  for (const { type } of list.plugins) assert.ok(type !== "" && !type.includes("/"), type);
  if (list.plugins.length === 0) return;
  // Its text is what is recorded, and read again after a restart.
  const again = parseNetworkList(list.text);
  assert.deepEqual({ ...again, takesPluginFiles: false }, { ...list, takesPluginFiles: false });
}

function checkResult(text: string): void {
  for (const version of supportedVersions) {
    const found = attempt(["invalid-argument", "internal"], () => parseResult(text, version));
    if (found === undefined) continue;
    assert.equal(found["cniVersion"], version);
    // The next plugin and DEL get it as JSON.
    const json = JSON.stringify(found);
    assert.equal(JSON.stringify(parseResult(json, version)), json);
    const addresses = attempt(["internal"], () => podAddresses(found, "eth0"));
    for (const each of addresses ?? []) assert.notEqual(isIP(each), 0, each);
  }
}

export const target: FuzzTarget = {
  name: "cni",
  seeds: () =>
    jsonSeeds(
      {
        cniVersion: "1.0.0",
        interfaces: [
          { name: "veth", mac: "x" },
          { name: "eth0", sandbox: "/run/ns" },
        ],
        ips: [{ address: "10.1.2.3/24", interface: 1, gateway: "10.1.2.1" }],
        routes: [{ dst: "0.0.0.0/0" }],
      },
      { cniVersion: "0.4.0", ips: [{ version: "4", address: "10.1.2.3/24" }] },
      {
        cniVersion: "1.0.0",
        name: "net",
        plugins: [{ type: "bridge", capabilities: { portMappings: true } }],
      },
      {
        cniVersions: ["1.1.0"],
        name: "n",
        disableGC: "TRUE",
        loadOnlyInlinedPlugins: true,
        plugins: [{ type: "a" }],
      },
      { cniVersion: "0.3.1", name: "one", type: "loopback" },
      { code: 11, msg: "try again", details: "later" },
      { "kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1e6" },
    ),
  words: [
    '"ips":[',
    '"interface":0',
    '"address":"10.0.0.2/24"',
    '"type":"../x"',
    '"plugins":[',
    '"__proto__":{',
    '"1.5Gi"',
    '"cniVersion":"1.1.0"',
  ],
  structured: result.map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    const text = input.toString("utf8");
    checkResult(text);
    for (const parse of [parseNetworkList, parseSinglePlugin]) {
      const list = attempt(["invalid-argument"], () => parse(text));
      if (list === undefined) continue;
      checkList(list);
      attempt(["invalid-argument"], () => checkList(withPluginFiles(list, [text])));
    }
    const error = pluginError("p", { code: 1, signal: null, stdout: input, stderr: input });
    assert.ok(
      error !== undefined && error.message.length <= 4096,
      "the message of a plugin is long",
    );
    attempt(["invalid-argument"], () => podBandwidth({ "kubernetes.io/ingress-bandwidth": text }));
    attempt(["invalid-argument"], () => parsePodCidrs(text));
    const cidr = parseCidr(text);
    if (cidr !== undefined) assert.notEqual(isIP(cidr), 0);
  },
};
