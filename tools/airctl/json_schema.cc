// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/json_schema.h"

#include <airstore/control/v1/control.pb.h>
#include <airstore/control/v1/report.pb.h>
#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

constexpr char kDefs[] = "#/$defs/";

void Define(const Descriptor* type, Json* defs);

Json TypeOf(const FieldDescriptor* field, Json* defs) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return {{"type", "integer"}};
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return {{"type", "integer"}, {"minimum", 0}};
    case FieldDescriptor::CPPTYPE_BOOL:
      return {{"type", "boolean"}};
    case FieldDescriptor::CPPTYPE_MESSAGE:
      Define(field->message_type(), defs);
      return {{"$ref", kDefs + field->message_type()->name()}};
    default:
      return {{"type", "string"}};
  }
}

// As json_output.cc writes it: every field is there.
void Define(const Descriptor* type, Json* defs) {
  if (defs->contains(type->name())) return;
  (*defs)[type->name()] = Json::object();
  Json properties = Json::object();
  Json required = Json::array();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    Json& property = properties[field->name()];
    if (field->is_map()) {
      property = {{"type", "object"},
                  {"additionalProperties", TypeOf(field->message_type()->map_value(), defs)}};
    } else if (field->is_repeated()) {
      property = {{"type", "array"}, {"items", TypeOf(field, defs)}};
    } else if (field->has_presence()) {
      property = {{"anyOf", {TypeOf(field, defs), {{"type", "null"}}}}};
    } else {
      property = TypeOf(field, defs);
    }
    required.push_back(field->name());
  }
  (*defs)[type->name()] = {{"type", "object"},
                           {"properties", properties},
                           {"required", required},
                           {"additionalProperties", false}};
}

}  // namespace

std::string JsonSchema() {
  Json defs = Json::object();
  const std::pair<const char*, const Descriptor*> commands[] = {
      {"mount", wire::MountResponse::descriptor()},
      {"status", wire::StatusResponse::descriptor()},
      {"stats", wire::StatsReport::descriptor()},
      {"dirty", wire::DirtyResponse::descriptor()},
      {"recover", wire::LostList::descriptor()},
      {"upgrade", wire::BrokerInfo::descriptor()},
      {"doctor", wire::DoctorReport::descriptor()},
      {"warm", wire::WarmReport::descriptor()},
      {"debug spool", wire::SpoolReport::descriptor()},
      {"debug journal", wire::JournalReport::descriptor()},
      {"debug shm", wire::ShmReport::descriptor()},
      {"unmount", wire::UnmountResponse::descriptor()},
      {"workspace create", wire::WorkspaceList::descriptor()},
      {"workspace set", wire::WorkspaceList::descriptor()},
      {"workspace list", wire::WorkspaceList::descriptor()},
      {"token list", wire::TokenList::descriptor()},
      {"token create", wire::TokenCreated::descriptor()},
      {"access-log", wire::AccessEvents::descriptor()},
      {"evict", wire::EvictResponse::descriptor()},
      {"fsck", wire::StoreReport::descriptor()},
      {"gc", wire::StoreReport::descriptor()},
      {"gateway status", wire::GatewayStatusList::descriptor()},
  };
  Json names = Json::object();
  for (const auto& [command, type] : commands) {
    Define(type, &defs);
    names[command] = {{"$ref", kDefs + type->name()}};
  }
  // Each line is a call, or what was added in an interval.
  names["trace"] = {{"anyOf", Json::array()}};
  for (const Descriptor* type :
       {wire::TracedCall::descriptor(), wire::TraceResponse::descriptor()}) {
    Define(type, &defs);
    names["trace"]["anyOf"].push_back({{"$ref", kDefs + type->name()}});
  }
  const Json text = {{"type", "string"}};
  Define(wire::VersionResponse::descriptor(), &defs);
  const Json of_airctl = {{"type", "object"},
                          {"properties", {{"version", text}}},
                          {"required", {"version"}},
                          {"additionalProperties", false}};
  Json of_broker;
  of_broker["anyOf"] =
      Json::array({Json{{"$ref", std::string(kDefs) + "VersionResponse"}}, Json{{"type", "null"}}});
  names["version"] = {{"type", "object"},
                      {"properties", {{"airctl", of_airctl}, {"broker", of_broker}}},
                      {"required", {"airctl", "broker"}},
                      {"additionalProperties", false}};
  // They say by their exit status that it is done.
  for (const char* command :
       {"flush", "login", "workspace delete", "token revoke", "debug bundle"}) {
    names[command] = {{"type", "object"}, {"additionalProperties", false}};
  }
  names["error"] = {{"type", "object"},
                    {"properties",
                     {{"error",
                       {{"type", "object"},
                        {"properties", {{"kind", text}, {"message", text}, {"advice", text}}},
                        {"required", {"kind", "message", "advice"}},
                        {"additionalProperties", false}}}}},
                    {"required", {"error"}},
                    {"additionalProperties", false}};
  for (auto& [name, schema] : names.items()) defs[name] = schema;
  return Json{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
              {"title", "Output of airctl --json"},
              {"$defs", defs}}
      .dump(2);
}

}  // namespace airstore::airctl
