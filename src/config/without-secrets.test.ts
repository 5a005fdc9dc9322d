import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultConfig, parseConfig } from "./load.ts";
import { withoutSecrets } from "./without-secrets.ts";

test("withoutSecrets() masks the credentials of the collector and nothing else", () => {
  assert.deepEqual(withoutSecrets(defaultConfig()), defaultConfig());
  const config = parseConfig(
    `[tracing]
endpoint = "https://me:swordfish@otel.example:4318/v1?key=swordfish"
headers = { Authorization = "Bearer swordfish" }`,
    "davit.toml",
  );
  const shown = withoutSecrets(config);
  assert.equal(shown.tracing.endpoint, "https://***@otel.example:4318/v1?***");
  assert.deepEqual(shown.tracing.headers, { Authorization: "***" });
  assert.ok(!JSON.stringify(shown).includes("swordfish"));
  assert.equal(shown.tracing.samplingRatio, config.tracing.samplingRatio);
});
