import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind, messageOf } from "../../../base/errors.ts";
import { parseProviderConfig } from "./provider-config.ts";

const provider = `- name: ecr
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.ecr.test", "ecr.test:5000/team"]
  defaultCacheDuration: 12h
`;
const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";
const parse = (text: string) => parseProviderConfig(text, "/p.yaml");

describe("parseProviderConfig()", () => {
  test("reads kubelet's file", () => {
    const more = `  args: [get, --x]
  env:
  - name: AWS_PROFILE
    value: node
- name: tokens
  apiVersion: credentialprovider.kubelet.k8s.io/v1beta1
  matchImages: [tokens.test]
  defaultCacheDuration: 0s
  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true}
`;
    const [first, second] = parse(head + provider + more);
    assert.deepEqual(first, {
      name: "ecr",
      patterns: [
        { host: ["*", "ecr", "test"], port: "", path: "" },
        { host: ["ecr", "test"], port: "5000", path: "/team" },
      ],
      defaultLifeMs: 12 * 3_600_000,
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
      args: ["get", "--x"],
      env: { AWS_PROFILE: "node" },
      needsToken: false,
    });
    assert.deepEqual([second?.defaultLifeMs, second?.needsToken], [0, true]);
  });

  test("refuses what kubelet refuses, with line or key, and no value", () => {
    const change = (from: string, to: string): string => head + provider.replace(from, to);
    for (const [text, message] of [
      ["kind: [hunter22", /line 1 is not valid YAML/],
      [`${head}- name: "hunter22\n`, /line [45] is not valid YAML/],
      ["hunter22", /must be a map/],
      ["kind: hunter22", /key kind must be "CredentialProviderConfig"/],
      [head.replace("/v1", "/v9") + provider, /key apiVersion must be one of/],
      [head, /key providers must be a list of 1 to 100/],
      [`${head}${provider}  hunters: 5\n`, /key providers\[0\]."hunters" is unknown here/],
      [change("name: ecr", "name: a/hunter22"), /providers\[0\].name must be the name of a file/],
      [change("name: ecr", "name: .."), /providers\[0\].name must be/],
      [head + provider + provider, /providers\[1\].name is there twice/],
      [change('["*.ecr.test", "ecr.test:5000/team"]', "[]"), /matchImages must be a list/],
      [change('"*.ecr.test"', '"https://hunter22"'), /matchImages\[0\] must be HOST/],
      [change("12h", "-5m"), /defaultCacheDuration must be a duration/],
      [change("credentialprovider", "hunter22"), /providers\[0\].apiVersion must be one of/],
      [`${head}${provider}  args: [5]\n`, /providers\[0\].args\[0\] must be a text/],
      [`${head}${provider}  env: [{value: hunter22}]\n`, /providers\[0\].env\[0\].name must be/],
    ] as const) {
      assert.throws(
        () => parse(text),
        (error) => {
          assert.ok(isKind(error, "failed-precondition"), String(error));
          assert.match(messageOf(error), message);
          assert.doesNotMatch(messageOf(error), /hunter22/);
          return true;
        },
      );
    }
  });

  test("does not expand aliases without end", () => {
    const bomb = Array.from({ length: 12 }, (_, at) =>
      at === 0
        ? "a0: &a0 [x, x]"
        : `a${at}: &a${at} [${Array(9)
            .fill(`*a${at - 1}`)
            .join(", ")}]`,
    );
    assert.throws(() => parse(bomb.join("\n")), /too many aliases/);
  });
});
