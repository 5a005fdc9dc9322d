const images =
  'davit does not build images; use "buildah build -t app ." and "buildah push app docker-archive:app.tar:app", ' +
  'then "davit load app.tar"';
const push =
  'davit does not push images; use "davit save -o app.tar app", then "skopeo copy docker-archive:app.tar docker://REGISTRY/app"';
const volumes =
  'volumes are those of a Pod manifest: hostPath and emptyDir, as in "davit run examples/hello.yaml"';
const networks =
  'networks are CNI configurations in /etc/cni/net.d; "davit pods" shows addresses, "davit doctor" checks them';
const compose =
  'davit reads no Compose files; use a manifest with a Pod for each service, "davit run A.yaml B.yaml"';
const services =
  'davit.service starts davit, and davit keeps pods across its restarts; see "davit install"';
const noNamespaces =
  'davit has no namespaces of containerd; "davit pods -n NAMESPACE" lists the pods of a Kubernetes namespace';

/**
 * Commands of docker, podman, nerdctl, crictl, ctr and kubectl that davit does not have, each with the line
 * that says what does the same here. A word of two is looked up before its first word.
 */
export const otherTools: Readonly<Record<string, string>> = {
  annotate: 'annotations are those of the manifest; use "davit run --replace FILE"',
  apply: 'use "davit apply -f FILE" or "davit run FILE" to run the Pods of a manifest',
  "auto-update":
    'davit does not replace pods; use "davit pull IMAGE" and "davit run --replace FILE"',
  build: images,
  buildx: images,
  builder: images,
  commit:
    'davit makes no images of containers; use "davit cp POD:PATH -" to copy files from a container',
  compose,
  container: 'use "davit ps" to list containers',
  "container commit":
    'davit makes no images of containers; use "davit cp POD:PATH -" to copy files from a container',
  "container checkpoint":
    'use "davit checkpoint POD/CONTAINER -o FILE", or "davit snapshots create POD" for a pod that davit restore runs',
  "container create": 'use "davit run" to create and start a container',
  "container prune":
    'use "davit rm --stopped" to remove what does not run, or "davit system prune"',
  "container restore": 'use "davit restore FILE" for a pod of "davit checkpoint POD -o FILE"',
  containers: 'use "davit ps -a" to list containers',
  context:
    'use "--endpoint" or DAVIT_ENDPOINT to choose a server; "davit info" shows the one in use',
  copy: 'use "davit cp" to copy files',
  create: 'use "davit run" to create and start a container, or "davit run FILE" for a manifest',
  ctr: 'use "davit ps" and "davit images"; davit does not serve containerd\'s API',
  dashboard: 'use "davit ui" to serve a page for the browser',
  debug:
    'use "davit exec -it POD sh" for a shell in a container, or "davit why POD" for its history',
  delete: 'use "davit rm POD" to remove a pod, or "davit down FILE" for those of a manifest',
  diff: 'the CRI does not list changed files; "davit stats" shows the size of the writable layer',
  edit: 'change the manifest, then use "davit run --replace FILE"',
  export: 'use "davit cp POD:/ - >FILE" to write the files of a container as a tar archive',
  expose: 'use hostPort in the manifest, or "davit port-forward POD 8080:80"',
  farm: images,
  generate: services,
  "generate kube": 'use "davit inspect POD -o yaml" for what a pod was created with',
  "generate systemd": services,
  get: 'use "davit pods", "davit ps" or "davit images" to list objects',
  "get nodes": 'use "davit info" for the status of this node',
  healthcheck: 'probes are those of kubelet; use "davit exec POD COMMAND" and its exit code',
  image: 'use "davit images", "davit pull", "davit load" or "davit rmi"',
  "image build": images,
  "image push": push,
  kube: 'use "davit kube play FILE" and "davit kube down FILE"',
  "kube generate": 'use "davit inspect POD -o yaml" for what a pod was created with',
  "kube apply": 'use "davit run FILE" on this node, or kubectl for a cluster',
  label: 'labels are those of the manifest; use "davit run --replace FILE"',
  list: 'use "davit pods", "davit ps" or "davit images" to list objects',
  login:
    'use "davit pull --creds - IMAGE" to read credentials from stdin, or set images.docker_config to the config.json of "docker login"',
  logout:
    'davit keeps no credentials of "davit pull --creds"; those of the node are in the file of images.docker_config',
  machine: 'davit runs on Linux nodes only, without a virtual machine; see "davit doctor"',
  manifest: 'use "davit pull --explain IMAGE" to show what a name resolves to',
  mount: 'use "davit cp POD:PATH ." to copy files from a container',
  namespace: noNamespaces,
  namespaces: noNamespaces,
  network: networks,
  play: 'use "davit play kube FILE" to run the Pods of a manifest',
  plugin: 'network plugins are those of CNI; "davit info" shows whether the network is ready',
  plugins: 'network plugins are those of CNI; "davit info" shows whether the network is ready',
  pod: 'use "davit pods" to list pods',
  "pod create": 'use "davit run" for a container in a new pod, or "davit run FILE" for a manifest',
  "pod prune": 'use "davit rm --stopped" to remove what does not run, or "davit system prune"',
  prune: 'use "davit system prune" for stopped pods and unused images, or "davit image prune"',
  push,
  remove: 'use "davit rm" for pods and containers, or "davit rmi" for images',
  rename: 'a name is part of the pod; change the manifest and use "davit run --replace FILE"',
  rollout: 'davit runs single pods; use "davit run --replace FILE" for a new version',
  runp: 'use "davit run FILE" to run the Pods of a manifest',
  scale: 'davit runs single pods; use "davit run FILE" with a manifest of several Pods',
  search: 'registries are not searched; "davit pull --explain IMAGE" says whether a name exists',
  secret: 'secrets are those of kubelet; use env or hostPath in the manifest of "davit run FILE"',
  shell: 'use "davit exec -it POD sh"',
  ssh: 'use "davit exec -it POD sh"',
  status: 'use "davit why POD" for the state of a pod, or "davit info" for that of the server',
  swarm: compose,
  stack: compose,
  system: 'use "davit system df" for disk usage, or "davit info" for the status of the server',
  task: 'use "davit ps" to list running containers',
  tasks: 'use "davit ps" to list running containers',
  trust: 'use "davit verify IMAGE" to check the signatures of an image',
  unmount: 'use "davit cp POD:PATH ." to copy files from a container',
  up: 'use "davit run FILE" to run the Pods of a manifest',
  volume: volumes,
  volumes,
};

/** A command of another tool, and what to use instead; undefined if the words do not begin with a known one. */
export function otherTool(
  words: readonly string[],
): { readonly name: string; readonly instead: string } | undefined {
  for (const name of [words.slice(0, 2).join(" "), words[0] ?? ""]) {
    const instead = Object.hasOwn(otherTools, name) ? otherTools[name] : undefined;
    if (instead !== undefined) return { name, instead };
  }
  return undefined;
}
