import { RuntimeError } from "../../base/errors.ts";
import type {
  CheckedConfig,
  Container,
  ContainerSpecs,
  ResourceUpdate,
  SpecSubject,
} from "../../core/container/index.ts";
import type { OciProcess, OciSpec } from "../../core/oci/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import { Trouble } from "./trouble.ts";

/** Specs that contain what they were made of, in place of an OCI spec. */
export class FakeSpecs implements ContainerSpecs {
  readonly trouble = new Trouble<"build" | "process">();
  /** What mountLabel() answers. */
  label: string | undefined;
  /** What nodeIds() answers. */
  needsNodeIds: string | undefined;

  check(
    config: Container["config"] | undefined,
    _sandbox: Sandbox,
    find: (id: string) => Container["config"],
  ): CheckedConfig {
    if (config?.metadata === undefined || config.image === undefined) {
      throw new RuntimeError(
        "invalid-argument",
        "check container config: metadata or image is missing",
      );
    }
    const target = config.linux?.securityContext?.namespaceOptions?.targetId ?? "";
    if (target !== "") find(target);
    return Object.assign(config, { metadata: config.metadata, image: config.image });
  }

  async nodeIds(): Promise<string | undefined> {
    return this.needsNodeIds;
  }

  mountLabel(): string | undefined {
    return this.label;
  }

  async build({ container, environment, rootfs, ...rest }: SpecSubject): Promise<OciSpec> {
    await this.trouble.at("build");
    const { imageVolumes, volumes, targetPid } = rest;
    const memory = container.resources?.memoryLimitInBytes.toString();
    const { pins } = environment;
    return { rootfs, memory, pins, imageVolumes, volumes, targetPid } as unknown as OciSpec;
  }

  update(before: Container["resources"], update: LinuxContainerResources): ResourceUpdate {
    const { memoryLimitInBytes: asked } = update;
    if (asked < 0n) {
      throw new RuntimeError("invalid-argument", `update resources: memory is ${asked}`);
    }
    const inForce = asked === 0n && before !== undefined ? before : update;
    const limits = { resources: update, spec: { memory: { limit: asked } } };
    return { inForce, limits: asked === 0n ? undefined : limits };
  }

  async process(
    subject: SpecSubject,
    exec: { readonly args: readonly string[]; readonly terminal: boolean },
  ): Promise<OciProcess> {
    await this.trouble.at("process");
    const started = await subject.startedSpec?.();
    return { ...exec, started: started !== undefined } as unknown as OciProcess;
  }
}
