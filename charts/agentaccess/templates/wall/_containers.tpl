{{/*
What holds for every container but ours, as variables and validations of an admission policy. Needs the variables `judged`
(the containers), `context` (the pod's securityContext) and `user` (the sidecar's; -2 without one). Argument: `written`, true where only
what somebody wrote is judged and the webhook will fill in the rest.
*/}}
{{- define "agentaccess.wall.containerVariables" -}}
- name: ownContext
  expression: variables.judged.map(c, {'name':c.name, 'is':c.?securityContext.orValue({})})
- name: privileged
  expression: variables.ownContext.filter(c, c.is.?privileged.orValue(false)).map(c, c.name)
- name: escalating
  expression: variables.ownContext.filter(c, c.is.?allowPrivilegeEscalation.orValue({{ not .written }})).map(c, c.name)
- name: undropped
  expression: >-
    {{ if .written -}}
    variables.ownContext.filter(c, c.is.?capabilities.?drop.orValue(['ALL']).size() > 0 && !('ALL' in c.is.?capabilities.?drop.orValue(['ALL']))).map(c, c.name)
    {{- else -}}
    variables.ownContext.filter(c, !('ALL' in c.is.?capabilities.?drop.orValue([]))).map(c, c.name)
    {{- end }}
- name: capable
  expression: variables.ownContext.filter(c, c.is.?capabilities.?add.orValue([]).exists(a, a != 'NET_BIND_SERVICE')).map(c, c.name)
- name: unfiltered
  expression: >-
    variables.ownContext.filter(c, !(c.is.?seccompProfile.?type.orValue(variables.context.?seccompProfile.?type.orValue('{{ .written | ternary "RuntimeDefault" "" }}')) in ['RuntimeDefault', 'Localhost'])).map(c, c.name)
- name: unmaskedProc
  expression: variables.ownContext.filter(c, c.is.?procMount.orValue('Default') != 'Default').map(c, c.name)
- name: otherSystem
  expression: variables.ownContext.filter(c, has(c.is.windowsOptions) || c.is.?appArmorProfile.?type.orValue('') == 'Unconfined').map(c, c.name)
- name: relabelling
  expression: variables.ownContext.filter(c, ['type', 'user', 'role'].exists(f, c.is.?seLinuxOptions[?f].orValue('') != '')).map(c, c.name)
- name: userless
  expression: variables.ownContext.filter(c, !has(c.is.runAsUser) && !has(variables.context.runAsUser)).map(c, c.name)
- name: sidecarUser
  expression: variables.ownContext.filter(c, c.is.?runAsUser.orValue(-1) == variables.user || c.is.?runAsGroup.orValue(-1) == variables.user).map(c, c.name)
- name: hostPorts
  expression: variables.judged.filter(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0)).map(c, c.name)
- name: sidecarPorts
  expression: variables.judged.filter(c, c.?ports.orValue([]).exists(p, p.containerPort >= 15000 && p.containerPort <= 15099)).map(c, c.name)
- name: hostProbes
  expression: >-
    variables.judged.filter(c, [c.?livenessProbe, c.?readinessProbe, c.?startupProbe, c.?lifecycle.?postStart, c.?lifecycle.?preStop].exists(h, h.?httpGet.?host.orValue('') != '' || h.?tcpSocket.?host.orValue('') != '')).map(c, c.name)
- name: sidecarMounts
  expression: >-
    variables.judged.filter(c, c.?volumeMounts.orValue([]).exists(m, m.name.startsWith('agentaccess-') && !(m.name in ['agentaccess-trust', 'agentaccess-account'] && m.?readOnly.orValue(false)))
    || c.?env.orValue([]).exists(e, e.?valueFrom.?fileKeyRef.?volumeName.orValue('').startsWith('agentaccess-'))).map(c, c.name)
- name: secretEnv
  expression: >-
    variables.judged.filter(c, c.?envFrom.orValue([]).exists(e, has(e.secretRef) && !(request.namespace + '/' + e.secretRef.name in params.spec.secrets))
    || c.?env.orValue([]).exists(e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef) && !(request.namespace + '/' + e.valueFrom.secretKeyRef.name in params.spec.secrets))).map(c, c.name)
{{- end }}

{{- define "agentaccess.wall.containerValidations" -}}
- expression: variables.privileged.size() == 0
  messageExpression: "'securityContext.privileged must be false: a privileged container can remove the fence: ' + variables.privileged.join(', ')"
- expression: variables.escalating.size() == 0
  messageExpression: "'securityContext.allowPrivilegeEscalation must be false: a container may not become another user: ' + variables.escalating.join(', ')"
- expression: variables.undropped.size() == 0
  messageExpression: "'securityContext.capabilities.drop must hold ALL: ' + variables.undropped.join(', ')"
- expression: variables.capable.size() == 0
  messageExpression: "'securityContext.capabilities.add may hold NET_BIND_SERVICE only: ' + variables.capable.join(', ')"
- expression: variables.unfiltered.size() == 0
  messageExpression: "'securityContext.seccompProfile.type must be RuntimeDefault or Localhost, here or for the pod: without it there are sockets that no fence sees: ' + variables.unfiltered.join(', ')"
- expression: variables.unmaskedProc.size() == 0
  messageExpression: "'securityContext.procMount must be Default: ' + variables.unmaskedProc.join(', ')"
- expression: variables.otherSystem.size() == 0
  messageExpression: "'securityContext.windowsOptions must not be set, nor appArmorProfile Unconfined: ' + variables.otherSystem.join(', ')"
# A level keeps pods apart and gives no rights.
- expression: variables.relabelling.size() == 0
  messageExpression: "'securityContext.seLinuxOptions may hold level only: another type, user or role confines less, or not at all: ' + variables.relabelling.join(', ')"
# An image says as which user it starts, and a tag can be pushed anew when the sidecar's user is known.
- expression: variables.userless.size() == 0
  messageExpression: "'securityContext.runAsUser must be set, here or for the pod: else the image chooses, and may choose the user of the sidecar: ' + variables.userless.join(', ')"
- expression: variables.sidecarUser.size() == 0
  messageExpression: "'securityContext.runAsUser and runAsGroup must not be those of the sidecar (' + string(variables.user) + '): ' + variables.sidecarUser.join(', ')"
- expression: variables.hostPorts.size() == 0
  messageExpression: "'ports.hostPort must not be set: it is dialled past the fence, use a Service: ' + variables.hostPorts.join(', ')"
- expression: variables.sidecarPorts.size() == 0
  messageExpression: "'ports.containerPort must not be 15000 to 15099, which are those of the sidecar: ' + variables.sidecarPorts.join(', ')"
- expression: variables.hostProbes.size() == 0
  messageExpression: "'host must not be set in a probe or hook: the node would dial it: ' + variables.hostProbes.join(', ')"
- expression: variables.sidecarMounts.size() == 0
  messageExpression: "'volumeMounts must not name volumes of the sidecar (agentaccess-*; trust and account read-only), nor env.valueFrom.fileKeyRef: ' + variables.sidecarMounts.join(', ')"
- expression: variables.secretEnv.size() == 0
  messageExpression: "'env and envFrom must not name a Secret, unless the value injection.secrets lists it: agents hold no credentials: ' + variables.secretEnv.join(', ')"
{{- end }}

{{/* What holds for the pod as a whole. Needs the variables `spec`, `context` and `volumes` (without those of the sidecar). */}}
{{- define "agentaccess.wall.podVariables" -}}
- name: hostNamespaces
  expression: >-
    ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace'].filter(f, dyn(variables.spec)[?f].orValue(false))
- name: names
  expression: >-
    (dyn(variables.spec).?hostAliases.orValue([]).size() > 0 ? ['hostAliases'] : []) + (has(variables.spec.dnsConfig) ? ['dnsConfig'] : [])
    + (dyn(variables.spec).?dnsPolicy.orValue('ClusterFirst') != 'ClusterFirst' ? ['dnsPolicy'] : [])
- name: sysctls
  expression: >-
    variables.context.?sysctls.orValue([]).map(s, s.name).filter(n, !(n in ['kernel.shm_rmid_forced', 'net.ipv4.ip_local_port_range',
    'net.ipv4.ip_local_reserved_ports', 'net.ipv4.ip_unprivileged_port_start', 'net.ipv4.ping_group_range', 'net.ipv4.tcp_fin_timeout',
    'net.ipv4.tcp_keepalive_intvl', 'net.ipv4.tcp_keepalive_probes', 'net.ipv4.tcp_keepalive_time', 'net.ipv4.tcp_rmem',
    'net.ipv4.tcp_syncookies', 'net.ipv4.tcp_wmem']))
- name: kinds
  expression: >-
    variables.volumes.filter(v, dyn(v).exists(k, !(k in ['name', 'configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'image', 'persistentVolumeClaim', 'projected', 'secret']))).map(v, v.name)
- name: drivers
  expression: variables.volumes.filter(v, has(v.csi) && !(v.csi.driver in params.spec.csiDrivers)).map(v, v.name)
- name: secretVolumes
  expression: >-
    variables.volumes.filter(v, (has(v.secret) && !(request.namespace + '/' + v.secret.?secretName.orValue('') in params.spec.secrets))
    || (has(v.csi) && has(v.csi.nodePublishSecretRef) && !(request.namespace + '/' + v.csi.nodePublishSecretRef.?name.orValue('') in params.spec.secrets))
    || v.?projected.?sources.orValue([]).exists(s, has(s.secret) && !(request.namespace + '/' + s.secret.?name.orValue('') in params.spec.secrets))).map(v, v.name)
- name: identities
  expression: >-
    variables.volumes.filter(v, v.?projected.?sources.orValue([]).exists(s, dyn(s).exists(k, !(k in ['configMap', 'downwardAPI', 'secret'])))).map(v, v.name)
{{- end }}

{{- define "agentaccess.wall.podValidations" -}}
- expression: variables.hostNamespaces.size() == 0
  messageExpression: "'must be false, or the pod is outside of the fence: spec.' + variables.hostNamespaces.join(', spec.')"
# The sidecar shares the pod's names, and dials targets by theirs.
- expression: variables.names.size() == 0
  messageExpression: "'hostAliases and dnsConfig must not be set, and dnsPolicy must be ClusterFirst: whoever makes the pod would choose where the credentials of targets go: spec.' + variables.names.join(', spec.')"
- expression: variables.spec.?os.?name.orValue('linux') == 'linux' && !has(variables.context.windowsOptions)
  message: spec.os.name must be linux, and spec.securityContext.windowsOptions not set; Windows has no fence
- expression: variables.context.?appArmorProfile.?type.orValue('') != 'Unconfined'
  message: spec.securityContext.appArmorProfile.type must not be Unconfined; the containers of the pod would be confined less
- expression: "['type', 'user', 'role'].all(f, dyn(variables.context).?seLinuxOptions[?f].orValue('') == '')"
  message: spec.securityContext.seLinuxOptions may hold level only; another type, user or role confines less, or not at all
- expression: variables.sysctls.size() == 0
  messageExpression: "'spec.securityContext.sysctls must not hold what is not safe in a pod: ' + variables.sysctls.join(', ')"
- expression: variables.kinds.size() == 0
  messageExpression: "'spec.volumes may be configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret: others mount what lies on the node or on a host that the pod names: ' + variables.kinds.join(', ')"
- expression: variables.drivers.size() == 0
  messageExpression: "'spec.volumes.csi.driver must be one that the value injection.csiDrivers lists: it may bring credentials: ' + variables.drivers.join(', ')"
- expression: variables.secretVolumes.size() == 0
  messageExpression: "'spec.volumes must not name a Secret, unless the value injection.secrets lists it: agents hold no credentials: ' + variables.secretVolumes.join(', ')"
{{- end }}
