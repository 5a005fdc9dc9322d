import type { HostTrial, RegistryTrial } from "../registry-trial.ts";
import { type Check, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("registries", {
  reachable: ["ok", ""],
  "image-found": ["ok", ""],
  "file-invalid": ["error", "images of the registry cannot be pulled while its file is wrong"],
  "host-unreachable": ["error", "images are pulled from nowhere else"],
  "mirror-unreachable": ["warning", "every pull tries it first, and then goes on to the next host"],
  "name-unknown": ["error", "images are pulled from nowhere else"],
  "certificate-untrusted": [
    "error",
    "davit talks to no registry whose certificate it cannot trust",
  ],
  "server-error": ["warning", "the host answers, but not as a registry that is well"],
  slow: ["warning", "each pull waits for it several times"],
  proxied: ["note", "requests to registries go through it"],
  "image-missing": ["error", "it cannot be pulled"],
});

const slowMs = 2_000;

/** Whether the registries answer: those of hosts.toml files when asked to, and of named images. */
export const registriesCheck: Check = {
  group: kinds.group,
  title: "Registries",
  catalogue: kinds,
  deadlineMs: 30_000,
  examine: async (subject: DoctorContext) => {
    const { host, config, images, askRegistries, leaveOut } = subject;
    const directory = config.images.registryConfigPath;
    const configured = (await host.list(directory)) ?? [];
    if (!askRegistries && images.length === 0) {
      const how = "are asked with --registries or --image NAME";
      if (configured.length > 0) leaveOut(`registries: those of ${directory} ${how}`);
      else leaveOut(`registries: none is configured; they ${how}`);
      return [];
    }
    const names = askRegistries ? configured.filter((name) => name !== "_default") : [];
    const trials = await Promise.all(
      names.map((name) => host.tryRegistry(registryOf(name), directory)),
    );
    const pulls = await Promise.all(images.map((image) => host.tryImage(image, directory)));
    return [
      ...trials.flatMap(describe),
      ...pulls.map(({ image, error, digest, ms }) =>
        error === undefined
          ? kinds.report("image-found", `${image} is ${digest ?? ""}, ${Math.round(ms)} ms`)
          : kinds.report("image-missing", `${image}: ${error}`, mendOf(error)),
      ),
      ...proxies(subject),
    ];
  },
};

/** A directory's name has `_5000_` where `:5000` cannot stand. */
function registryOf(directory: string): string {
  return directory.replace(/_(\d+)_$/, ":$1");
}

function describe({ registry, hosts, error, file }: RegistryTrial): readonly Finding[] {
  if (error !== undefined) {
    return [kinds.report("file-invalid", error, `fix ${file}`)];
  }
  return hosts.flatMap((host, index) => describeHost(registry, host, index < hosts.length - 1));
}

function describeHost(registry: string, host: HostTrial, isMirror: boolean): readonly Finding[] {
  const { root, error, problem, ms, status } = host;
  const text = root.includes(registry) ? root : `${root} for ${registry}`;
  if (error !== undefined) {
    const said = `${text}: ${error}`;
    const check = `curl -v ${root}/ shows more; fix the network, or the host's line in hosts.toml`;
    if (problem === "certificate") {
      const fix = 'name its CA with "ca" in the hosts.toml of the registry';
      return [kinds.report("certificate-untrusted", said, fix)];
    }
    if (isMirror) return [kinds.report("mirror-unreachable", said, check)];
    if (problem === "name") {
      const fix = "fix the name, or the name servers of /etc/resolv.conf";
      return [kinds.report("name-unknown", said, fix)];
    }
    return [kinds.report("host-unreachable", said, check)];
  }
  const took = `${text}: ${status ?? 0}, ${Math.round(ms)} ms`;
  // 401 is how a registry asks for a token, and 404 what mirrors of one namespace say.
  if (status !== undefined && status >= 500) {
    return [kinds.report("server-error", took, "ask whoever runs it")];
  }
  return [
    ms > slowMs
      ? kinds.report("slow", took, "use a mirror that is nearer, or look at the route to it")
      : kinds.report("reachable", took),
  ];
}

function mendOf(error: string): string {
  if (/certificate/.test(error)) return 'name the registry\'s CA with "ca" in its hosts.toml';
  if (/unauthenticated|denied|401|403/i.test(error)) return "give kubelet a pull secret for it";
  return "look at its name and tag; --registries tells which hosts answer";
}

function proxies({ host }: DoctorContext): readonly Finding[] {
  const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
  const set = names.filter((name) => (host.env[name] ?? "") !== "");
  const [first] = set;
  if (first === undefined) return [];
  const shown = (host.env[first] ?? "").replace(/\/\/[^\s/@]*@/, "//***@");
  const text = `${first}=${shown} in this environment; that of the daemon's unit may be another`;
  return [kinds.report("proxied", text, "NO_PROXY names the hosts that are asked directly")];
}
