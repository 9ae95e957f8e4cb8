{{- define "lb.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What follows the last colon, which the schema demands. */}}
{{- define "lb.healthzPort" -}}
{{- .Values.healthzBindAddress | default "0.0.0.0:10256" | splitList ":" | last }}
{{- end }}
