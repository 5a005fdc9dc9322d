import assert from "node:assert/strict";
import { test } from "node:test";

import { parseReference, type RegistryAuth } from "../../core/image/index.ts";
import { authForName } from "./auth-for-name.ts";

const auth: RegistryAuth = {
  username: "user",
  password: "word",
  auth: "",
  serverAddress: "",
  identityToken: "",
  registryToken: "",
};

test("authForName() keeps credentials for docker.io from the registry of an alias", () => {
  const alias = parseReference("x.test/app");
  assert.equal(authForName({ name: "app", auth }, alias)?.serverAddress, "docker.io");
  assert.equal(authForName({ name: "x.test/app", auth }, alias), auth);
  assert.equal(authForName({ name: "app", auth }, parseReference("app")), auth);
  const own = { ...auth, serverAddress: "x.test" };
  assert.equal(authForName({ name: "app", auth: own }, alias), own);
  assert.equal(authForName({ name: "app", auth: undefined }, alias), undefined);
});
