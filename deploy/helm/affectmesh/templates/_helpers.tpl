{{- define "affectmesh.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of an object; call with (dict "root" $ "component" NAME). */}}
{{- define "affectmesh.labels" -}}
{{ include "affectmesh.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: affectmesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "affectmesh.selector" -}}
app.kubernetes.io/name: affectmesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "affectmesh.image" -}}
{{ .root.Values.image.repository }}/{{ .image }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}{{ with index .root.Values.image.digests .image }}@{{ . }}{{ end }}
{{- end -}}

{{- define "affectmesh.secret" -}}
{{ default (include "affectmesh.fullname" .) .Values.secrets.existingSecret }}
{{- end -}}

{{- define "affectmesh.inference" -}}
{{ ternary "triton" .Values.inference.mode .Values.triton.enabled }}
{{- end -}}

{{/* Fields of every pod: who it runs as, and where. Call with (dict "root" $ "component" NAME). */}}
{{- define "affectmesh.pod" -}}
serviceAccountName: {{ include "affectmesh.fullname" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector | default .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations | default .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .root.Values.topologySpread }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "affectmesh.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "affectmesh.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Metadata of a pod template. Call with (dict "root" $ "component" NAME). */}}
{{- define "affectmesh.podMetadata" -}}
labels: {{- include "affectmesh.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}{{ toYaml . | nindent 2 }}{{- end }}
annotations:
  checksum/settings: {{ include "affectmesh.settings" .root | sha256sum }}
  checksum/secrets: {{ toYaml .root.Values.secrets | sha256sum }}
  {{- with .root.Values.podAnnotations }}{{ toYaml . | nindent 2 }}{{- end }}
{{- end -}}

{{/* Settings of every process, as a map. */}}
{{- define "affectmesh.settings" -}}
{{- $name := include "affectmesh.fullname" . -}}
{{- $addresses := dict -}}
{{- $backends := dict -}}
{{- range $component, $is := include "affectmesh.components" . | fromYaml -}}
{{- if ne $component "worker" -}}
{{- $_ := set $addresses $component (printf "%s-%s:%d" $name $component (int $is.port)) -}}
{{- end -}}
{{- if has "envoy" $is.callers -}}
{{- $_ := set $backends $component (list (printf "%s-%s:%d" $name $component (int $is.port))) -}}
{{- end -}}
{{- if $is.http -}}
{{- $_ := set $backends $component (list (printf "%s-%s:%d" $name $component (int $is.http))) -}}
{{- $_ := set $backends "authorization" (list (printf "%s-%s:%d" $name $component (int $is.authorization))) -}}
{{- end -}}
{{- end -}}
AFFECTMESH_HOST: "0.0.0.0"
AFFECTMESH_ADDRESSES: {{ $addresses | toJson | quote }}
AFFECTMESH_DATA_DIR: /data
AFFECTMESH_LOG_LEVEL: {{ .Values.logLevel }}
AFFECTMESH_DRAIN_S: {{ .Values.drainSeconds | quote }}
AFFECTMESH_STOP_GRACE_S: {{ .Values.stopGraceSeconds | quote }}
AFFECTMESH_TRUSTED_PROXIES: {{ join "," .Values.envoy.podNetworks | quote }}
AFFECTMESH_ENVOY_BACKENDS: {{ $backends | toJson | quote }}
AFFECTMESH_ENVOY_CORS_ORIGINS: {{ .Values.envoy.corsOrigins | toJson | quote }}
AFFECTMESH_INFERENCE: {{ include "affectmesh.inference" . }}
{{- if eq (include "affectmesh.inference" .) "triton" }}
AFFECTMESH_TRITON_URL: {{ ternary (printf "%s-triton:8001" $name) .Values.inference.tritonUrl .Values.triton.enabled | quote }}
{{- end }}
{{- if .Values.objectStore.bundled }}
AFFECTMESH_OBJECT_STORE_URL: {{ printf "s3://affectmesh/media?endpoint=http://%s-s3:8333&region=us-east-1" $name | quote }}
{{- else if .Values.objectStore.url }}
AFFECTMESH_OBJECT_STORE_URL: {{ .Values.objectStore.url | quote }}
{{- end }}
{{- if .Values.certManager.mutualTls }}
AFFECTMESH_TLS_CERT: /tls/tls.crt
AFFECTMESH_TLS_KEY: /tls/tls.key
AFFECTMESH_TLS_CA: /tls/ca.crt
{{- end }}
{{- if .Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ .Values.tracing.endpoint | quote }}
OTEL_TRACES_SAMPLER: parentbased_traceidratio
OTEL_TRACES_SAMPLER_ARG: {{ .Values.tracing.ratio | quote }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
{{ $setting }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Environment of every process: settings, and secrets by reference. */}}
{{- define "affectmesh.environment" -}}
{{- $secret := include "affectmesh.secret" .root -}}
{{- $name := include "affectmesh.fullname" .root -}}
envFrom:
  - configMapRef: {name: {{ $name }}}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - {name: OTEL_RESOURCE_ATTRIBUTES, value: k8s.pod.name=$(POD_NAME)}
  {{- if has .component (splitList " " (include "affectmesh.usesDatabase" .root)) }}
  {{- if .root.Values.database.bundled }}
  - name: POSTGRES_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: postgres-password}}
  - name: AFFECTMESH_DATABASE_URL
    value: postgresql://affectmesh:$(POSTGRES_PASSWORD)@{{ $name }}-postgresql:5432/affectmesh
  {{- else }}
  - name: AFFECTMESH_DATABASE_URL
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: database-url}}
  {{- end }}
  {{- end }}
  {{- if has .component (splitList " " (include "affectmesh.usesRedis" .root)) }}
  {{- if .root.Values.redis.bundled }}
  - name: REDIS_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: redis-password}}
  - name: AFFECTMESH_REDIS_URL
    value: redis://:$(REDIS_PASSWORD)@{{ $name }}-redis:6379/0
  {{- else }}
  - name: AFFECTMESH_REDIS_URL
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: redis-url}}
  {{- end }}
  {{- end }}
  {{- if has .component (splitList " " (include "affectmesh.usesObjectStore" .root)) }}
  - name: AWS_ACCESS_KEY_ID
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: s3-access-key, optional: true}}
  - name: AWS_SECRET_ACCESS_KEY
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: s3-secret-key, optional: true}}
  - name: AFFECTMESH_MEDIA_KEY
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: media-key, optional: true}}
  {{- end }}
  {{- if eq .component "billing" }}
  - name: AFFECTMESH_SECRET_KEY
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: secret-key}}
  - name: AFFECTMESH_BOOTSTRAP_API_KEY
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: bootstrap-api-key, optional: true}}
  {{- end }}
{{- end -}}

{{/* Certificate of a component, for mutual TLS. */}}
{{- define "affectmesh.tlsVolume" -}}
{{- if .root.Values.certManager.mutualTls }}
- name: tls
  secret:
    secretName: {{ include "affectmesh.fullname" .root }}-{{ .component }}-tls
    defaultMode: 0440
{{- end }}
{{- end -}}
{{- define "affectmesh.tlsMount" -}}
{{- if .root.Values.certManager.mutualTls }}
- {name: tls, mountPath: /tls, readOnly: true}
{{- end }}
{{- end -}}
