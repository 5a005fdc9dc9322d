import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerAdjustmentSchema,
  CreateContainerRequestSchema,
  CreateContainerResponseSchema,
  PluginInstanceSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { CreateResult, defaultValidator, type ValidatorSettings } from "./index.ts";

interface Request {
  readonly adjust?: MessageInitShape<typeof ContainerAdjustmentSchema>;
  /** Of the pod. */
  readonly annotations?: Record<string, string>;
  /** The profile type of the container; undefined for no profile. */
  readonly profile?: 0 | 1 | 2;
  readonly plugins?: readonly string[];
}

function reasonOf(settings: ValidatorSettings, request: Request): string | undefined {
  const { adjust, annotations = {}, profile, plugins = [] } = request;
  const result = new CreateResult(
    create(CreateContainerRequestSchema, {
      pod: { annotations },
      container: {
        id: "c1",
        name: "web",
        linux: profile === undefined ? {} : { seccompProfile: { profileType: profile } },
      },
    }),
  );
  if (adjust !== undefined) {
    result.apply(create(CreateContainerResponseSchema, { adjust }), "10-a");
  }
  const instances = plugins.map((name) => create(PluginInstanceSchema, { name, index: "10" }));
  return defaultValidator(settings)(result.validation(instances));
}

const hooks = { hooks: { prestart: [{ path: "/h" }] } };
const seccomp = { linux: { seccompPolicy: { defaultAction: "SCMP_ACT_ALLOW" } } };
const namespaces = { linux: { namespaces: [{ type: "-ipc" }] } };
const sysctl = { linux: { sysctl: { "-a.b": "", "a.c": "1" } } };

describe("defaultValidator()", () => {
  const restrictions: readonly (readonly [keyof ValidatorSettings, Request])[] = [
    ["rejectOciHookAdjustment", { adjust: hooks }],
    ["rejectRuntimeDefaultSeccompAdjustment", { adjust: seccomp, profile: 0 }],
    ["rejectUnconfinedSeccompAdjustment", { adjust: seccomp, profile: 1 }],
    ["rejectUnconfinedSeccompAdjustment", { adjust: seccomp }],
    ["rejectCustomSeccompAdjustment", { adjust: seccomp, profile: 2 }],
    ["rejectNamespaceAdjustment", { adjust: namespaces }],
    ["rejectSysctlAdjustment", { adjust: sysctl }],
  ];
  for (const [index, [setting, request]] of restrictions.entries()) {
    test(`${setting} rejects that, and nothing else does (${index})`, () => {
      assert.match(reasonOf({ [setting]: true }, request) ?? "", /^plugin "10-a" may not /);
      const others = Object.fromEntries(
        restrictions.filter(([one]) => one !== setting).map(([one]) => [one, true]),
      );
      assert.equal(reasonOf(others, request), undefined);
      assert.equal(reasonOf({ [setting]: true }, {}), undefined);
    });
  }

  test("required plugins must have been asked: of the settings, of the pod, of the container", () => {
    const key = "required-plugins.noderesource.dev";
    const settings = { requiredPlugins: ["x"] };
    assert.equal(reasonOf(settings, {}), 'required plugin "x" is not connected');
    assert.equal(reasonOf(settings, { plugins: ["x"] }), undefined);
    for (const list of ['["y", "z"]', "[y, 'z']", "- y\n- z"]) {
      const of = (name: string) => ({ plugins: ["x"], annotations: { [name]: list } });
      const missing = 'required plugins "y", "z" are not connected';
      assert.equal(reasonOf(settings, of(key)), missing);
      assert.equal(reasonOf(settings, of(`${key}/pod`)), missing);
      assert.equal(reasonOf({}, of(`${key}/container.web`)), missing);
      assert.equal(reasonOf({}, of(`${key}/container.other`)), undefined);
    }
    assert.equal(reasonOf({}, { annotations: { [key]: "[]" } }), undefined);
    assert.match(reasonOf({}, { annotations: { [key]: "{" } }) ?? "", /must be a JSON list/);
  });

  test("a pod or container tolerates missing plugins with the annotation of the settings", () => {
    const settings = { requiredPlugins: ["x"], tolerateMissingPluginsAnnotation: "tolerate" };
    const of = (annotations: Record<string, string>) => reasonOf(settings, { annotations });
    assert.equal(of({ tolerate: "true" }), undefined);
    assert.match(of({ tolerate: "false" }) ?? "", /is not connected/);
    assert.match(of({ tolerate: "maybe" }) ?? "", /must be true or false, got "maybe"/);
    assert.match(
      of({ tolerate: "true", "tolerate/container.web": "false" }) ?? "",
      /is not connected/,
    );
  });
});
