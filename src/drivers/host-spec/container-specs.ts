import type { HandlerSettings, RuntimeFeatures } from "../../core/handler/index.ts";
import { RuntimeError } from "../../base/errors.ts";
import type {
  CheckedConfig,
  Container,
  ContainerSpecs,
  ExecProcess,
  ResourceClasses,
  ResourceUpdate,
  SpecSubject,
} from "../../core/container/index.ts";
import type { OciProcess, OciSeccomp, OciSpec } from "../../core/oci/index.ts";
import {
  askedPidsLimit,
  containerCgroup,
  requestedConfig,
  type Sandbox,
} from "../../core/sandbox/index.ts";
import {
  allowedAnnotations,
  askedClass,
  askedNotifier,
  checkContainerConfig,
  checkSharedPid,
  clampedOomScoreAdj,
  containerLabels,
  containerSpec,
  hasByteValues,
  nodeIdsOfContainer,
  onFirstCpu,
  type PluginAdjustments,
  processSpec,
  refuseCdi,
  refuseNul,
  requestedCdiDevices,
  resourceUpdate,
  type SpecHost,
  type SpecInput,
  startedProcess,
  updateWithOthers,
  writesCgroups,
} from "../../oci-spec/index.ts";
import { hasNsdelegate } from "../../linux/cgroup/index.ts";
import { listMounts } from "../../linux/mount/index.ts";
import { addEnvProgram } from "./env-program.ts";
import { Apparmor } from "./apparmor.ts";
import { CdiFiles } from "./cdi-files.ts";
import { ClientPaths } from "./client-paths.ts";
import { readBase, readHooks } from "./handler-files.ts";
import { allHostDevices, requestedDevices } from "./host-devices.ts";
import { mountHolding, mountSources, unmappableMount } from "./mount-sources.ts";
import { readSeccomp } from "./seccomp-files.ts";
import type { Selinux } from "./selinux.ts";

/** Makes specs: collects the input of the pure generator, and calls it. */
export class HostContainerSpecs implements ContainerSpecs {
  readonly #host: SpecHost;
  readonly #featuresOf: (sandbox: Sandbox) => Promise<RuntimeFeatures>;
  readonly #cdi: CdiFiles | undefined;
  readonly #devicesOfUser: boolean;
  readonly #refusesPtrace: boolean;
  readonly #allowSocketcall: boolean;
  readonly #isLayerLimited: (sandbox: Sandbox) => boolean;
  readonly #selinux: Selinux | undefined;
  readonly #apparmor = new Apparmor();
  readonly #settingsOf: (sandbox: Sandbox) => HandlerSettings;
  readonly #classes: ResourceClasses;
  readonly #seccompListener: (() => Promise<string>) | undefined;
  readonly #paths = new ClientPaths(async (path) => (await mountHolding(path)).mountPoint);

  constructor(deps: {
    readonly host: SpecHost;
    /** The features of the OCI runtime of a sandbox's handler. */
    readonly featuresOf: (sandbox: Sandbox) => Promise<RuntimeFeatures>;
    /** Directories with CDI files; undefined where CDI is switched off. */
    readonly cdiDirectories?: readonly string[] | undefined;
    /** Devices of a request belong to the user that it names. */
    readonly devicesOfUser?: boolean;
    /** Containers with CAP_SYS_PTRACE cannot share a PID namespace. */
    readonly refusesPtrace?: boolean;
    /** The default seccomp profile allows socketcall. */
    readonly allowSocketcall?: boolean;
    /** Whether the writable layers of a sandbox's containers have a limit. */
    readonly isLayerLimited?: (sandbox: Sandbox) => boolean;
    /** Where containers get SELinux labels. */
    readonly selinux?: Selinux | undefined;
    /** The classes of block I/O and RDT, asked for those that a request or a plugin names. */
    readonly classes: ResourceClasses;
    /** Where OCI runtimes send the filters whose denied calls are reported; listens there. */
    readonly seccompListener?: () => Promise<string>;
    /** The configuration for containers of a sandbox's handler. */
    readonly settingsOf: (sandbox: Sandbox) => HandlerSettings;
  }) {
    this.#host = deps.host;
    this.#cdi = deps.cdiDirectories === undefined ? undefined : new CdiFiles(deps.cdiDirectories);
    this.#devicesOfUser = deps.devicesOfUser === true;
    this.#refusesPtrace = deps.refusesPtrace === true;
    this.#allowSocketcall = deps.allowSocketcall === true;
    this.#isLayerLimited = deps.isLayerLimited ?? (() => false);
    this.#selinux = deps.selinux;
    this.#featuresOf = deps.featuresOf;
    this.#settingsOf = deps.settingsOf;
    this.#classes = deps.classes;
    this.#seccompListener = deps.seccompListener;
  }

  check(
    config: Container["config"] | undefined,
    sandbox: Sandbox,
    find: (id: string) => Container["config"],
  ): CheckedConfig {
    const checked = checkContainerConfig(config, requestedConfig(sandbox), this.#host);
    if (this.#refusesPtrace) {
      const target = checked.linux?.securityContext?.namespaceOptions?.targetId ?? "";
      const found = target === "" ? undefined : find(target);
      checkSharedPid(checked, sandbox.config, found, this.#host);
    }
    if (this.#cdi === undefined) refuseCdi(requestedCdiDevices(checked));
    this.#selinux?.check(checked, sandbox);
    return checked;
  }

  async nodeIds({ container, sandbox, environment }: SpecSubject): Promise<string | undefined> {
    const { range } = sandbox.ownIds ?? {};
    const namespace = environment.pins.user;
    if (range === undefined || namespace === undefined) return undefined;
    const { config, user } = container;
    const cdi = requestedCdiDevices(config).length > 0;
    const reason = nodeIdsOfContainer(config, user, { cdi, length: range.length });
    return reason ?? (await unmappableMount(config, namespace, this.#paths));
  }

  mountLabel(config: Container["config"], sandbox: Sandbox): string | undefined {
    return this.#selinux === undefined ? undefined : containerLabels(config, sandbox)?.mount;
  }

  update(
    before: Container["resources"],
    update: NonNullable<Container["resources"]>,
    ofPlugins?: Parameters<ContainerSpecs["update"]>[2],
  ): ResourceUpdate {
    const all = ofPlugins === undefined ? update : updateWithOthers(update, ofPlugins, this.#host);
    const { inForce, limits, spec } = resourceUpdate(before, all, this.#host);
    refuseNul(spec);
    const isEmpty = Object.keys(spec).length === 0;
    return { inForce, limits: isEmpty ? undefined : { resources: limits, spec } };
  }

  async build(subject: SpecSubject): Promise<OciSpec> {
    const input = await this.#input(subject);
    checkHandler(this.#settingsOf(subject.sandbox), subject.sandbox, input.runtime);
    const spec = await this.#withNotifier(containerSpec(input), input);
    refuseNul(spec);
    // Once: files that containers write later have their label.
    if (subject.container.state.name === "creating") {
      await this.#selinux?.relabel(input);
      if (hasByteValues(spec.process)) await addEnvProgram(input.rootfs);
    }
    return spec;
  }

  async process(subject: SpecSubject, exec: ExecProcess): Promise<OciProcess> {
    const process = processSpec(await this.#processOf(subject), exec);
    refuseNul(process);
    if (this.#settingsOf(subject.sandbox).execCpuAffinity === "") return process;
    const { container } = subject;
    return onFirstCpu(process, container.resources ?? container.config.linux?.resources);
  }

  /** The container's own process, which a command in it is like. */
  async #processOf(subject: SpecSubject): Promise<OciProcess> {
    // Only the process: a probe must neither wait for a mount's server nor create directories.
    const { container } = subject;
    const started = await this.#startedProcess(subject);
    if (started !== undefined) return started;
    const { adjustment } = container;
    const config = { ...container.config, mounts: [], devices: [] };
    const input = await this.#facts({ ...subject, container: { ...container, config } });
    const found = {
      mountSources: [],
      volumes: [],
      devices: [],
      ...(await readSeccomp(config, this.#settingsOf(subject.sandbox))),
      apparmorProfile: await this.#apparmor.profileOf(config),
      base: await readBase(this.#settingsOf(subject.sandbox)),
      ...(adjustment === undefined ? {} : { adjust: await this.#processAdjustments(adjustment) }),
    };
    return containerSpec({ ...input, ...found }).process;
  }

  /**
   * The process that the container was started with, if not the request alone defines it: CDI files and the
   * handler's base may have changed since, and plugins may have adjusted it.
   */
  async #startedProcess(subject: SpecSubject): Promise<OciProcess | undefined> {
    const { container, sandbox, startedSpec } = subject;
    const hasBase = this.#settingsOf(sandbox).baseRuntimeSpec !== "";
    const isAdjusted = container.adjustment !== undefined;
    const hasCdi = requestedCdiDevices(container.config).length > 0;
    if (!hasBase && !hasCdi && !isAdjusted) return undefined;
    const spec = await startedSpec?.();
    if (spec === undefined) return undefined;
    const process = startedProcess(spec);
    // The OOM score of a plugin is not among the resources.
    if (isAdjusted) return process;
    const { linux } = container.config;
    const { oomScoreAdj = 0n } = container.resources ?? linux?.resources ?? {};
    // An update may have changed it.
    return {
      ...process,
      oomScoreAdj: clampedOomScoreAdj(oomScoreAdj, this.#host.oomScoreAdjFloor),
    };
  }

  /**
   * The paths of the host in the request. One after the other: when all volumes of a container hang, only one
   * access hangs (see ClientPaths).
   */
  async #named({
    container: { config },
    imageVolumes,
  }: SpecSubject): Promise<Pick<SpecInput, "mountSources" | "devices">> {
    const sources = await mountSources(config, imageVolumes, this.#paths);
    return { mountSources: sources, devices: await requestedDevices(config, this.#paths) };
  }

  async #input(subject: SpecSubject): Promise<SpecInput> {
    const { config, adjustment } = subject.container;
    const cdi = requestedCdiDevices(config);
    const privileged = config.linux?.securityContext?.privileged === true;
    const settings = this.#settingsOf(subject.sandbox);
    const withHostDevices = !settings.privilegedWithoutHostDevices;
    // In parallel: each needs a turn of the thread pool or several, and they are independent.
    const [
      facts,
      named,
      classes,
      edits,
      hostDevices,
      seccomp,
      apparmorProfile,
      base,
      hooks,
      delegated,
      adjust,
    ] = await Promise.all([
      this.#facts(subject),
      this.#named(subject),
      this.#classesOf(subject),
      cdi.length === 0 ? undefined : this.#cdi?.edits(cdi),
      privileged && withHostDevices ? allHostDevices() : undefined,
      readSeccomp(config, settings),
      this.#apparmor.profileOf(config),
      readBase(settings),
      readHooks(settings),
      writesCgroups(config, settings.cgroupWritable) && this.#host.cgroupVersion === 2
        ? listMounts().then(hasNsdelegate)
        : undefined,
      adjustment === undefined ? undefined : this.#pluginAdjustments(adjustment),
    ]);
    return {
      ...facts,
      ...named,
      ...classes,
      devicesOfUser: this.#devicesOfUser,
      allowSocketcall: this.#allowSocketcall,
      isLayerLimited: this.#isLayerLimited(subject.sandbox),
      pidsLimit: askedPidsLimit(subject.sandbox.config),
      ...(cdi.length === 0 ? {} : { cdi: edits }),
      hostDevices,
      allDevicesAllowed: !withHostDevices && settings.privilegedWithoutHostDevicesAllDevicesAllowed,
      ...seccomp,
      apparmorProfile,
      base,
      hooks,
      cgroupWritable: settings.cgroupWritable,
      cgroupDelegated: delegated,
      adjust,
    };
  }

  async #pluginAdjustments(bytes: Uint8Array): Promise<PluginAdjustments> {
    const { pluginAdjustments } = await import("./plugin-adjustments.ts");
    return pluginAdjustments(bytes, { cdi: this.#cdi, paths: this.#paths, classes: this.#classes });
  }

  async #processAdjustments(bytes: Uint8Array): Promise<PluginAdjustments> {
    const { processAdjustments } = await import("./plugin-adjustments.ts");
    return processAdjustments(bytes);
  }

  /** The spec whose denied calls davit answers, where an annotation asks for that and there is a filter. */
  async #withNotifier(spec: OciSpec, { annotations, runtime }: SpecInput): Promise<OciSpec> {
    const action = askedNotifier(annotations ?? {});
    const { seccomp } = spec.linux;
    if (action === undefined || seccomp === undefined) return spec;
    if (this.#seccompListener === undefined) return spec;
    checkNotifier(seccomp, runtime);
    const { withNotifier } = await import("../../oci-spec/security/seccomp-notify.ts");
    const notified = withNotifier(seccomp, action, await this.#seccompListener());
    return { ...spec, linux: { ...spec.linux, seccomp: notified } };
  }

  /** What the classes that the request names stand for. */
  async #classesOf({
    container,
    sandbox,
  }: SpecSubject): Promise<Pick<SpecInput, "blockIo" | "intelRdt">> {
    const blockIo = askedClass("blockio", container.config, sandbox.config);
    const rdt = askedClass("rdt", container.config, sandbox.config);
    return {
      ...(blockIo === undefined ? {} : { blockIo: await this.#classes.blockIoOf(blockIo.name) }),
      ...(rdt === undefined ? {} : { intelRdt: await this.#classes.rdtOf(rdt.name, rdt.origin) }),
    };
  }

  /** The input that needs no file of the host. */
  async #facts(subject: SpecSubject): Promise<Omit<SpecInput, "mountSources" | "devices">> {
    const { container, sandbox, environment } = subject;
    const settings = this.#settingsOf(sandbox);
    return {
      containerId: container.id,
      sandbox,
      sandboxPins: environment.pins,
      sandboxPid: environment.pid,
      targetPid: subject.targetPid,
      sandboxFiles: environment.files,
      config: container.config,
      resources: container.resources,
      image: container.image.config,
      imageName: container.image.shown,
      rootfs: subject.rootfs,
      volumes: container.volumes.map((path, index) => ({
        path,
        source: subject.volumes[index] ?? "",
      })),
      user: container.user,
      cgroupPath: containerCgroup(sandbox.cgroup, container.id).specPath,
      annotations: {
        ...settings.defaultAnnotations,
        ...allowedAnnotations(sandbox.config.annotations, settings.podAnnotations),
        ...allowedAnnotations(container.config.annotations, settings.containerAnnotations),
      },
      selinux: this.#selinux && containerLabels(container.config, sandbox),
      host: this.#host,
      runtime: await this.#featuresOf(sandbox),
    };
  }
}

/** `failed-precondition` for a handler whose OCI runtime would ignore what the handler says. */
function checkHandler(settings: HandlerSettings, sandbox: Sandbox, runtime: RuntimeFeatures): void {
  if (
    settings.execCpuAffinity === "" ||
    runtime.optionalFields?.includes("process.execCPUAffinity") === true
  )
    return;
  const { name } = sandbox.handler;
  throw new RuntimeError(
    "failed-precondition",
    `make spec: handler "${name}" has exec_cpu_affinity, which its OCI runtime ignores; install crun 1.19 or runc 1.3, or remove it from [runtime.handlers.${name}]`,
  );
}

/** `failed-precondition` where denied calls cannot be reported. */
function checkNotifier(seccomp: OciSeccomp, runtime: RuntimeFeatures): void {
  const doing = "make spec: the seccomp notifier is wanted by an annotation, but";
  if (runtime.optionalFields?.includes("linux.seccomp.notify") !== true) {
    const text = `${doing} the OCI runtime has no SCMP_ACT_NOTIFY; install crun 0.19 or runc 1.1 with libseccomp 2.5, or remove the annotation`;
    throw new RuntimeError("failed-precondition", text);
  }
  if (seccomp.listenerPath === undefined && seccomp.listenerMetadata === undefined) return;
  const text = `${doing} the seccomp profile has a listener of its own; use a profile without listenerPath, or remove the annotation`;
  throw new RuntimeError("failed-precondition", text);
}
