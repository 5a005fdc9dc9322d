/** config.json of Docker, kubelet's CredentialProviderConfig, and what registries write into headers and errors. */
import assert from "node:assert/strict";

import { parseDuration } from "../../../src/drivers/registry/duration.ts";
import { parseChallenges } from "../../../src/drivers/registry/challenge.ts";
import { basicAuthorization, serverName } from "../../../src/drivers/registry/credentials.ts";
import {
  redirectedText,
  registryText,
  tokenServiceText,
} from "../../../src/drivers/registry/failure.ts";
import {
  authOf,
  parseDockerConfig,
} from "../../../src/drivers/registry/node-credentials/docker-config.ts";
import { parseJson } from "../../../src/drivers/registry/node-credentials/json-text.ts";
import { parseProviderConfig } from "../../../src/drivers/registry/node-credentials/provider-config.ts";
import { Secrets, withoutQueries } from "../../../src/drivers/registry/secrets.ts";
import { attempt, type FuzzTarget, jsonSeeds, textSeeds } from "../target.ts";

const secret = "hunter2-secret";

function checkDockerConfig(text: string): void {
  const config = attempt(
    ["failed-precondition"],
    () => parseDockerConfig(text, "/config.json"),
    1e6,
  );
  if (config === undefined) return;
  for (const image of ["registry.example/team/app", "docker.io/library/x", "a.b/c"]) {
    const found = authOf(config, image);
    if (found !== undefined && found.kind !== "none")
      assert.match(basicAuthorization(found), /^Basic /);
  }
}

/** No text of a registry shows a secret that was sent to it, whatever it wrote before. */
function checkTexts(text: string): void {
  const secrets = new Secrets();
  secrets.addAuthorization(`Bearer ${secret}`);
  for (const body of [text, text + secret, text.slice(0, 200) + secret + text.slice(200)]) {
    for (const { text: shown } of [
      registryText(body, secrets),
      tokenServiceText(body, secrets),
      redirectedText(body),
    ]) {
      assert.ok(!shown.includes(secret), "a secret is shown");
      assert.ok(
        shown.length <= 400 && !/[\n\r]/.test(shown),
        `${shown.length} characters of a registry are shown`,
      );
    }
  }
  withoutQueries(text);
  for (const { scheme, parameters } of parseChallenges(text)) {
    assert.equal(scheme, scheme.toLowerCase());
    for (const name of parameters.keys()) assert.equal(name, name.toLowerCase());
  }
  const duration = parseDuration(text);
  if (duration !== undefined) assert.ok(duration >= 0 && Number.isFinite(duration));
  serverName(text);
}

export const target: FuzzTarget = {
  name: "credentials",
  seeds: () => [
    ...jsonSeeds(
      {
        auths: {
          "https://index.docker.io/v1/": { auth: "dTpw" },
          "*.example/x": { username: "u", password: "p" },
        },
        credHelpers: { "r.example": "ecr-login" },
        credsStore: "pass",
      },
      { auths: { "r.example/team": { identitytoken: "t" } } },
      { errors: [{ code: "DENIED", message: "no", detail: {} }] },
    ),
    ...textSeeds(
      'Bearer realm="https://a/token",service="r",scope="repository:a:pull", Basic realm=x',
      "<Error><Code>AccessDenied</Code></Error>",
      "<html><body>Not <b>here</b> https://a/?X-Amz-Signature=abcdefgh&x=1</body></html>",
      "1h30m",
      `kind: CredentialProviderConfig
apiVersion: kubelet.config.k8s.io/v1
providers:
- name: ecr
  matchImages: ["*.example/x"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  env: [{name: A, value: b}]
`,
    ),
  ],
  words: [
    '"auths":{',
    '"auth":"dTpw"',
    secret,
    "hunter2",
    "&amp;",
    "%2D",
    "///////",
    "\n",
    '="',
    "\\",
    ",,,,",
    "<Code>",
    "<",
    "&a=",
    "::1",
  ],
  limitMs: (bytes) => 300 + bytes / 8,
  check: (input) => {
    const text = input.toString("utf8");
    checkDockerConfig(text);
    attempt(["failed-precondition"], () => parseProviderConfig(text, "/providers.yaml"), 1e6);
    const parsed = parseJson(text);
    if ("line" in parsed) assert.ok(parsed.line >= 1 && parsed.line <= text.split("\n").length);
    checkTexts(text);
  },
};
