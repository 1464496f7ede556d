// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/json_output.h"

#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>

namespace airstore::airctl {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Json = nlohmann::ordered_json;

Json Convert(const Message& message);

// index < 0: a single field.
Json ConvertField(const Message& message, const FieldDescriptor* field, int index) {
  const auto* reflection = message.GetReflection();
  const bool one = index < 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? reflection->GetInt32(message, field)
                 : reflection->GetRepeatedInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? reflection->GetInt64(message, field)
                 : reflection->GetRepeatedInt64(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? reflection->GetUInt32(message, field)
                 : reflection->GetRepeatedUInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? reflection->GetUInt64(message, field)
                 : reflection->GetRepeatedUInt64(message, field, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? reflection->GetBool(message, field)
                 : reflection->GetRepeatedBool(message, field, index);
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? reflection->GetString(message, field)
                 : reflection->GetRepeatedString(message, field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return one ? reflection->GetEnum(message, field)->name()
                 : reflection->GetRepeatedEnum(message, field, index)->name();
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return Convert(one ? reflection->GetMessage(message, field)
                         : reflection->GetRepeatedMessage(message, field, index));
    default:  // the protocol has no floating point
      return nullptr;
  }
}

Json ConvertMap(const Message& message, const FieldDescriptor* field) {
  std::map<std::string, Json> sorted;
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, field, i);
    const auto* type = entry.GetDescriptor();
    sorted[entry.GetReflection()->GetString(entry, type->map_key())] =
        ConvertField(entry, type->map_value(), -1);
  }
  return Json(sorted);
}

Json Convert(const Message& message) {
  Json out = Json::object();
  const auto* type = message.GetDescriptor();
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (field->is_map()) {
      out[field->name()] = ConvertMap(message, field);
    } else if (field->is_repeated()) {
      Json list = Json::array();
      for (int at = 0; at < reflection->FieldSize(message, field); ++at) {
        list.push_back(ConvertField(message, field, at));
      }
      out[field->name()] = std::move(list);
    } else if (field->has_presence() && !reflection->HasField(message, field)) {
      // Absent of a oneof is not there; an absent message or optional is null.
      if (field->real_containing_oneof() == nullptr) out[field->name()] = nullptr;
    } else {
      out[field->name()] = ConvertField(message, field, -1);
    }
  }
  return out;
}

}  // namespace

std::string ToJson(const Message& message) {
  return Convert(message).dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string ToJsonLine(const Message& message) {
  return Convert(message).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace airstore::airctl
