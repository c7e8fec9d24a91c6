{{/* The containers and volumes of this release; its name is a digest of them. */}}
{{- define "agentaccess.release" -}}
{{- $content := include "agentaccess.release.content" . | fromYaml }}
name: sha256-{{ $content | toJson | sha256sum | trunc 16 }}
{{ toYaml $content }}
{{- end }}

{{- define "agentaccess.release.content" -}}
containers:
- name: agentaccess-init
  args: [init, "--user={user}", --own=15020, --names=/run/agentaccess/names]
  {{- include "agentaccess.release.common" . | nindent 2 }}
  securityContext:
    # As another user a capability is not passed on.
    {{- include "agentaccess.release.context" (dict "add" (list "NET_ADMIN") "nonRoot" false) | nindent 4 }}
    runAsUser: 0
    runAsGroup: 0
  volumeMounts:
  - {name: agentaccess-names, mountPath: /run/agentaccess/names}
- name: agentaccess-proxy
  args:
  - proxy
  - "--nonce={nonce}"
  - --operator=https://agentaccess-operator.{{ .Release.Namespace }}.svc:{{ .Values.control.port }}
  - "--roots={roots}"
  {{- range include "agentaccess.otel" . | fromJsonArray }}
  - {{ . | quote }}
  {{- end }}
  {{- include "agentaccess.release.common" . | nindent 2 }}
  restartPolicy: Always
  env:
  - {name: AGENTACCESS_POD_NAMESPACE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}}
  - {name: AGENTACCESS_POD_NAME, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}
  - {name: AGENTACCESS_POD_UID, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}}
  - {name: AGENTACCESS_STATE_DIR, value: /var/lib/agentaccess/state}
  - {name: AGENTACCESS_STATE_SIZE, value: {{ .Values.sidecar.stateSize }}}
  ports:
  - {name: agentaccess, containerPort: 15020, protocol: TCP}
  volumeMounts:
  - {name: agentaccess-token, mountPath: /run/agentaccess/token, readOnly: true}
  - {name: agentaccess-ca, mountPath: /run/agentaccess/ca}
  - {name: agentaccess-state, mountPath: /var/lib/agentaccess}
  - {name: agentaccess-trust, mountPath: /run/agentaccess/trust}
  - {name: agentaccess-account, mountPath: /run/agentaccess/account}
  # Over those of the pod, which root in any container may write.
  - {name: agentaccess-names, mountPath: /etc/hosts, subPath: hosts, readOnly: true}
  - {name: agentaccess-names, mountPath: /etc/resolv.conf, subPath: resolv.conf, readOnly: true}
  securityContext: {{- include "agentaccess.release.context" (dict "add" list "nonRoot" true) | nindent 4 }}
- name: agentaccess-verify
  args: [verify, "--user={user}", "--nonce={nonce}", --wait=120]
  {{- include "agentaccess.release.common" . | nindent 2 }}
  securityContext: {{- include "agentaccess.release.context" (dict "add" list "nonRoot" true) | nindent 4 }}
volumes:
- name: agentaccess-token
  projected:
    # 0644, as the kubelet has it.
    defaultMode: 420
    sources:
    - serviceAccountToken: {audience: {{ .Values.sidecar.audience }}, expirationSeconds: 600, path: token}
- {name: agentaccess-ca, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: agentaccess-state, emptyDir: {sizeLimit: {{ .Values.sidecar.stateSize }}}}
- {name: agentaccess-trust, emptyDir: {sizeLimit: 4Mi}}
- {name: agentaccess-account, emptyDir: {sizeLimit: 1Mi}}
- {name: agentaccess-names, emptyDir: {sizeLimit: 1Mi}}
{{- end }}

{{- define "agentaccess.release.common" -}}
image: {{ include "agentaccess.image" (list .Values.sidecar.image .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.sidecar.image.pullPolicy }}
command: [/agentaccess-sidecar]
resources: {{- toYaml .Values.sidecar.resources | nindent 2 }}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{- define "agentaccess.release.context" -}}
runAsNonRoot: {{ .nonRoot }}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with .add }}
  add: {{ toJson . }}
  {{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}
