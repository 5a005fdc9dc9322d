import type { HostTrial, RegistryTrial } from "../registry-probe.ts";
import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("registries", {
  reachable: ["ok", ""],
  "image-found": ["ok", ""],
  "file-invalid": ["error", "images of the registry cannot be pulled while its file is invalid"],
  "host-unreachable": ["error", "images of the registry cannot be pulled from another host"],
  "mirror-unreachable": ["warning", "each pull tries the mirror first, and then the next host"],
  "name-unknown": ["error", "images of the registry cannot be pulled from another host"],
  "certificate-untrusted": [
    "error",
    "davit does not connect to a registry with an untrusted certificate",
  ],
  "server-error": ["warning", "the host responds with a server error"],
  slow: ["warning", "each pull waits for the host several times"],
  proxied: ["note", "requests to registries go through the proxy"],
  "image-missing": ["error", "the image cannot be pulled"],
});

const slowMs = 2_000;

/** Whether registries respond: those with a hosts.toml, if asked for, and those of the given images. */
export const registriesCheck: Check = {
  group: kinds.group,
  title: "Registries",
  catalogue: kinds,
  deadlineMs: 30_000,
  examine: async (context: DoctorContext) => {
    const { host, config, images, probeRegistries, skip } = context;
    const directory = config.images.registryConfigPath;
    const configured = (await host.list(directory)) ?? [];
    if (!probeRegistries && images.length === 0) {
      const how = "use --registries or --image IMAGE";
      if (configured.length > 0) skip(`registries: to check those of ${directory}, ${how}`);
      else skip(`registries: none configured in ${directory}; to check one, ${how}`);
      return [];
    }
    const names = probeRegistries ? configured.filter((name) => name !== "_default") : [];
    const probes = await Promise.all(
      names.map((name) => host.probeRegistry(registryOf(name), directory)),
    );
    const pulls = await Promise.all(images.map((image) => host.probeImage(image, config.images)));
    return [
      ...probes.flatMap(describe),
      ...pulls.map(({ image, error, digest, ms }) =>
        error === undefined
          ? kinds.report("image-found", `${image}: ${digest ?? ""}, ${Math.round(ms)} ms`)
          : kinds.report("image-missing", `${image}: ${error}`, fixOf(error)),
      ),
      ...proxies(context),
    ];
  },
};

/** The registry of a directory: a name with `_5000_` at its end stands for `:5000`. */
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
    const found = `${text}: ${error}`;
    const check = `fix the network, or the host's line in hosts.toml; curl -v ${root}/ shows details`;
    if (problem === "certificate") {
      const fix = 'set "ca" in the hosts.toml of the registry to its CA';
      return [kinds.report("certificate-untrusted", found, fix)];
    }
    if (isMirror) return [kinds.report("mirror-unreachable", found, check)];
    if (problem === "name") {
      const fix = "fix the name, or the name servers in /etc/resolv.conf";
      return [kinds.report("name-unknown", found, fix)];
    }
    return [kinds.report("host-unreachable", found, check)];
  }
  const took = `${text}: ${status ?? 0}, ${Math.round(ms)} ms`;
  // A registry responds with 401 to ask for a token, and a mirror of one namespace with 404.
  if (status !== undefined && status >= 500) {
    return [kinds.report("server-error", took, "ask the operator of the registry")];
  }
  return [
    ms > slowMs
      ? kinds.report("slow", took, "use a mirror that is nearer, or check the route to the host")
      : kinds.report("reachable", took),
  ];
}

function fixOf(error: string): string {
  if (/certificate/.test(error)) return 'set "ca" in the hosts.toml of the registry to its CA';
  if (/unauthenticated|denied|401|403/i.test(error))
    return "create a pull secret for the registry, or give the node credentials";
  return "check the image's name and tag; --registries shows which hosts respond";
}

function proxies({ host }: DoctorContext): readonly Finding[] {
  const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
  const set = names.filter((name) => (host.env[name] ?? "") !== "");
  const [first] = set;
  if (first === undefined) return [];
  const shown = withoutCredentials(host.env[first] ?? "");
  const text = `${first}=${shown} in this environment; that of davit serve may differ`;
  return [kinds.report("proxied", text, "list hosts to reach directly in NO_PROXY")];
}

/**
 * The URL of a proxy with `***` in place of its credentials. They may have an "@" or a "/" that is not encoded, so they
 * end at the last "@", and the scheme may be missing.
 */
function withoutCredentials(proxy: string): string {
  return proxy.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^]*@/i, "$1***@");
}
