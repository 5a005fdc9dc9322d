import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseHostsFile } from "./hosts-file.ts";
import { parseDockerConfig } from "./node-credentials/docker-config.ts";
import { parseProviderConfig } from "./node-credentials/provider-config.ts";
import { parseRegistriesFile } from "./registries-conf/registries-file.ts";

const text = readFileSync(new URL("../../../docs/registries.md", import.meta.url), "utf8");

/** The blocks of the page in this language, with the path that their first line names. */
function blocks(language: string): readonly { readonly file: string; readonly text: string }[] {
  const fence = new RegExp(`^\`\`\`${language}\\n(?:# (/\\S+)\\n)?([^]*?)^\`\`\`$`, "gm");
  return [...text.matchAll(fence)].map(([, file = "", body = ""]) => ({ file, text: body }));
}

const ofFile = (name: string): readonly { readonly file: string; readonly text: string }[] =>
  blocks("toml").filter(({ file }) => file.endsWith(name));

test("the files of docs/registries.md can be used as they are", () => {
  const [mirror = [], own = []] = ofFile("/hosts.toml").map(({ file, text }) =>
    parseHostsFile(text, file),
  );
  assert.equal(mirror[0]?.url?.host, "mirror.example:5000");
  assert.deepEqual(
    own.map(({ dockerConfig, credentialHelper }) => dockerConfig ?? credentialHelper),
    ["/etc/davit/mirror.json", "cloud", undefined],
  );

  const [registries] = ofFile("/registries.conf").map(({ file, text }) =>
    parseRegistriesFile(text, file),
  );
  assert.equal(registries?.registries.length, 2);

  const [docker] = blocks("json").map(({ text }) => parseDockerConfig(text, "docker.json"));
  assert.ok(docker);
  const [providers] = blocks("yaml").map(({ file, text }) => parseProviderConfig(text, file));
  assert.equal(providers?.length, 1);
});

test("the short keys of docs/registries.md are keys of hosts.toml", () => {
  const host = `[host."https://a.example/v2/cache"]\n`;
  const keys = [
    ...text.matchAll(/`((?:ca|client|override_path|dial_timeout|capabilities) = [^`]+)`/g),
  ];
  assert.equal(keys.length, 5);
  for (const [, key = ""] of keys) assert.ok(parseHostsFile(`${host}${key}\n`, "hosts.toml"));
});
