{{- define "covey.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "covey.labels" -}}
{{ include "covey.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "covey.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "covey.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "covey.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (include "covey.fullname" .) }}
{{- end }}

{{- define "covey.claimName" -}}
{{ .Values.models.claim.name | default (printf "%s-models" (include "covey.fullname" .)) }}
{{- end }}

{{- /* What all pods have in common. */ -}}
{{- define "covey.pod" -}}
serviceAccountName: {{ include "covey.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false  # they would be variables named COVEY_...
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "covey.contained" -}}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "covey.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "covey.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* A map as environment variables. */ -}}
{{- define "covey.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- /* A probe of the server: path of HTTP, service of gRPC. */ -}}
{{- define "covey.probe" -}}
{{- if eq .root.Values.probes.type "grpc" -}}
grpc: {port: 8001, service: {{ .service | quote }}}
{{- else -}}
httpGet: {path: {{ .path }}, port: metrics}
{{- end }}
timeoutSeconds: 3
{{- end }}
