// SPDX-License-Identifier: Apache-2.0
//
// The wire form of v1, against a table that was written down by looking at the wire: every message
// with its fields' numbers and types, every method with its messages. The expected bytes are put
// together here, by the rules of the encoding, and not by the generator under test.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "airstore/v1/context.pb.h"
#include "airstore/v1/filesystem.pb.h"
#include "airstore/v1/gateway.pb.h"
#include "airstore/v1/sources.pb.h"
#include "airstore/v1/tools.pb.h"
#include "tests/unit/gateway/v1_methods.h"

namespace {

namespace pb = google::protobuf;

// "package.Message: field=number:type, ..."; a type of a message's name is that message.
constexpr const char* kMessages = R"(
filesystem.FileStat: path=1:string name=2:string size=3:int64 mode=4:uint32 mtime=5:int64 is_dir=6:bool is_symlink=7:bool symlink_target=8:string
filesystem.DirEntry: name=1:string mode=2:uint32 size=3:int64 mtime=4:int64 is_dir=5:bool
filesystem.StatRequest: path=1:string
filesystem.ReadDirRequest: path=1:string
filesystem.RemoveRequest: path=1:string
filesystem.StatResponse: ok=1:bool error=2:string info=3:FileStat
filesystem.ReadDirResponse: ok=1:bool error=2:string entries=3:*DirEntry
filesystem.MkdirRequest: path=1:string mode=2:uint32
filesystem.CreateRequest: path=1:string mode=2:uint32
filesystem.ChmodRequest: path=1:string mode=2:uint32
filesystem.RenameRequest: old_path=1:string new_path=2:string
filesystem.MkdirResponse: ok=1:bool error=2:string
filesystem.CreateResponse: ok=1:bool error=2:string
filesystem.RenameResponse: ok=1:bool error=2:string
filesystem.RemoveResponse: ok=1:bool error=2:string
filesystem.ChmodResponse: ok=1:bool error=2:string
context.FileInfo: size=1:int64 mode=2:uint32 mtime=3:int64 is_dir=4:bool is_link=5:bool
context.ContextDirEntry: name=1:string mode=2:uint32 is_dir=3:bool size=4:int64 mtime=5:int64 etag=6:string
context.ContextStatRequest: path=1:string
context.ContextReadDirRequest: path=1:string
context.ContextReadlinkRequest: path=1:string
context.ContextStatResponse: ok=1:bool error=2:string info=3:FileInfo
context.ContextReadDirResponse: ok=1:bool error=2:string entries=3:*ContextDirEntry
context.ContextReadRequest: path=1:string offset=2:int64 length=3:int64
context.ContextReadResponse: ok=1:bool error=2:string data=3:bytes
context.ContextWriteRequest: path=1:string data=2:bytes offset=3:int64
context.ContextWriteResponse: ok=1:bool error=2:string written=3:int32
context.ContextCreateRequest: path=1:string mode=2:uint32
context.ContextMkdirRequest: path=1:string mode=2:uint32
context.ContextDeleteRequest: path=1:string recursive=2:bool
context.ContextRenameRequest: old_path=1:string new_path=2:string
context.ContextTruncateRequest: path=1:string size=2:int64
context.ContextSymlinkRequest: target=1:string link_path=2:string
context.ContextReadlinkResponse: ok=1:bool error=2:string target=3:string
context.ContextCreateResponse: ok=1:bool error=2:string
context.ContextDeleteResponse: ok=1:bool error=2:string
context.ContextMkdirResponse: ok=1:bool error=2:string
context.ContextRenameResponse: ok=1:bool error=2:string
context.ContextTruncateResponse: ok=1:bool error=2:string
context.ContextSymlinkResponse: ok=1:bool error=2:string
context.ListTreeRequest: path=1:string depth=2:int32 max_keys=3:int32 continuation_token=4:string
context.ListTreeResponse: ok=1:bool error=2:string entries=3:*TreeEntry next_token=4:string truncated=5:bool
context.TreeEntry: path=1:string size=2:int64 mtime=3:int64 mode=4:uint32 etag=5:string
sources.SourceFileInfo: size=1:int64 mode=2:uint32 mtime=3:int64 is_dir=4:bool is_link=5:bool
sources.SourceDirEntry: name=1:string mode=2:uint32 is_dir=3:bool size=4:int64 mtime=5:int64 result_id=6:string child_count=7:int32
sources.SourceStatRequest: path=1:string
sources.SourceReadDirRequest: path=1:string
sources.SourceReadlinkRequest: path=1:string
sources.SourceStatResponse: ok=1:bool error=2:string info=3:SourceFileInfo
sources.SourceReadDirResponse: ok=1:bool error=2:string entries=3:*SourceDirEntry
sources.SourceReadRequest: path=1:string offset=2:int64 length=3:int64
sources.SourceReadResponse: ok=1:bool error=2:string data=3:bytes cost_hint=4:SourceReadCostHint
sources.SourceReadCostHint: integration=1:string source_uri=2:string query_path=3:string result_id=4:string strategy=5:string outcome=6:string original_bytes=7:int64 compressed_bytes=8:int64 original_tokens=9:int64 compressed_tokens=10:int64 compression_ms=11:int64
sources.SourceReadlinkResponse: ok=1:bool error=2:string target=3:string
sources.SourceView: external_id=1:string integration=2:string path=3:string name=4:string query_spec=5:string guidance=6:string output_format=7:string file_ext=8:string cache_ttl=9:int32 created_at=10:int64 updated_at=11:int64 mode=12:string filter=13:string last_executed=14:int64
sources.CreateViewRequest: integration=1:string name=2:string guidance=3:string output_format=4:string file_ext=5:string filter=6:string
sources.CreateViewResponse: ok=1:bool error=2:string view=3:SourceView
sources.GetViewRequest: path=1:string
sources.GetViewResponse: ok=1:bool error=2:string view=3:SourceView
sources.ListViewsRequest: parent_path=1:string
sources.ListViewsResponse: ok=1:bool error=2:string views=3:*SourceView
sources.DeleteViewRequest: external_id=1:string
sources.DeleteViewResponse: ok=1:bool error=2:string
sources.UpdateViewRequest: external_id=1:string name=2:string guidance=3:string filter=4:string
sources.UpdateViewResponse: ok=1:bool error=2:string view=3:SourceView
sources.ExecuteViewRequest: path=1:string filename=2:string result_id=3:string
sources.ExecuteViewResponse: ok=1:bool error=2:string entries=3:*SourceDirEntry file_data=4:bytes
sources.SyncViewRequest: external_id=1:string
sources.SyncViewResponse: ok=1:bool error=2:string view=3:SourceView results_count=4:int32 new_results=5:int32
sources.ListResourcesRequest: integration=1:string resource_type=2:string
sources.ListResourcesResponse: ok=1:bool error=2:string resources=3:*SourceResource
sources.SourceResource: id=1:string name=2:string
tools.ListToolsRequest:
tools.ToolInfo: name=1:string help=2:string local_command=3:string
tools.ListToolsResponse: ok=1:bool error=2:string tools=3:*ToolInfo
tools.GetToolHelpRequest: name=1:string
tools.GetToolHelpResponse: ok=1:bool error=2:string help=3:string
tools.ExecuteToolRequest: name=1:string args=2:*string
tools.ExecuteToolResponse: stream=1:enum data=2:bytes done=3:bool exit_code=4:int32 error=5:string
gateway.Task: id=1:string status=2:string prompt=3:string image=4:string exit_code=5:int32 has_exit_code=6:bool error=7:string created_at=8:string started_at=9:string finished_at=10:string
gateway.ListTasksRequest:
gateway.ListTasksResponse: ok=1:bool error=2:string tasks=3:*Task
gateway.GetTaskRequest: id=1:string
gateway.GetTaskLogsRequest: id=1:string
gateway.DeleteTaskRequest: id=1:string
gateway.TaskResponse: ok=1:bool error=2:string task=3:Task
gateway.TaskLogEntry: task_id=1:string timestamp=2:int64 stream=3:string data=4:string
gateway.GetTaskLogsResponse: ok=1:bool error=2:string logs=3:*TaskLogEntry
gateway.CreateTaskRequest: prompt=1:string image=2:string entrypoint=3:*string env=4:map
gateway.CreateWorkspaceRequest: name=1:string
gateway.GetWorkspaceRequest: id=1:string
gateway.DeleteWorkspaceRequest: id=1:string
gateway.Workspace: id=1:string name=2:string created_at=3:string updated_at=4:string
gateway.WorkspaceResponse: ok=1:bool error=2:string workspace=3:Workspace
gateway.ListWorkspacesRequest:
gateway.ListWorkspacesResponse: ok=1:bool error=2:string workspaces=3:*Workspace
gateway.AddMemberRequest: workspace_id=1:string email=2:string name=3:string role=4:string
gateway.Member: id=1:string workspace_id=2:string email=3:string name=4:string role=5:string created_at=6:string
gateway.MemberResponse: ok=1:bool error=2:string member=3:Member
gateway.ListMembersRequest: workspace_id=1:string
gateway.ListMembersResponse: ok=1:bool error=2:string members=3:*Member
gateway.RemoveMemberRequest: id=1:string
gateway.CreateTokenRequest: workspace_id=1:string member_id=2:string name=3:string expires_in_seconds=4:int64
gateway.CreateTokenResponse: ok=1:bool error=2:string token=3:string info=4:Token
gateway.ListTokensRequest: workspace_id=1:string
gateway.ListTokensResponse: ok=1:bool error=2:string tokens=3:*Token
gateway.Token: id=1:string name=2:string token_type=3:string member_id=4:string pool_name=5:string expires_at=6:string created_at=7:string last_used_at=8:string
gateway.RevokeTokenRequest: id=1:string
gateway.DeleteResponse: ok=1:bool error=2:string
gateway.IngestAccessEventsRequest: events=1:*AccessLogEvent
gateway.IngestAccessEventsResponse: ok=1:bool error=2:string accepted=3:int32
gateway.AccessLogEvent: event_id=1:string ts=2:int64 session_id=3:string path=4:string cache_source=5:string offset=6:int64 requested_bytes=7:int32 read_bytes=8:int32 latency_ms=9:int64 error_msg=10:string mount_id=11:string access_origin=12:string integration=13:string source_uri=14:string query_path=15:string result_id=16:string original_bytes=17:int64 compressed_bytes=18:int64 original_tokens=19:int64 compressed_tokens=20:int64 strategy=21:string outcome=22:string compression_ms=23:int64 fetch_ms=24:int64
)";

struct Field {
  std::string name;
  uint32_t number = 0;
  std::string type;
  bool repeated = false;
};
using Table = std::map<std::string, std::vector<Field>>;

Table Messages() {
  Table table;
  std::istringstream lines(kMessages);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    std::istringstream words(line);
    std::string message, word;
    words >> message;
    message.pop_back();  // the colon
    auto& fields = table[message];
    while (words >> word) {
      const size_t equals = word.find('='), colon = word.find(':');
      Field field;
      field.name = word.substr(0, equals);
      field.number = static_cast<uint32_t>(std::stoul(word.substr(equals + 1, colon)));
      field.type = word.substr(colon + 1);
      field.repeated = field.type.front() == '*';
      if (field.repeated) field.type.erase(0, 1);
      fields.push_back(field);
    }
  }
  return table;
}

// ---- The encoding, by its rules -----------------------------------------------------------------

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}
std::string Number(uint32_t field, uint64_t value) { return Varint(field << 3) + Varint(value); }
std::string Bytes(uint32_t field, const std::string& value) {
  return Varint(field << 3 | 2) + Varint(value.size()) + value;
}

// ---- Known values, in both forms ----------------------------------------------------------------

class Golden {
 public:
  explicit Golden(Table table) : table_(std::move(table)) {}

  // Sets every field of the table by its name, and answers the bytes that it should become.
  std::string Fill(const std::string& name, pb::Message* message) {
    std::string bytes;
    const pb::Descriptor* type = message->GetDescriptor();
    const auto found = table_.find(name);
    if (found == table_.end()) {
      ADD_FAILURE() << "no table of " << name;
      return bytes;
    }
    EXPECT_EQ(type->field_count(), static_cast<int>(found->second.size())) << name;
    for (const Field& field : found->second) {
      const pb::FieldDescriptor* there = type->FindFieldByName(field.name);
      if (there == nullptr) {
        ADD_FAILURE() << name << " has no " << field.name;
        continue;
      }
      for (int i = 0; i < (field.repeated ? 2 : 1); ++i) {
        bytes += Set(name.substr(0, name.find('.')), field, i, there, message);
      }
    }
    return bytes;
  }

 private:
  std::string Set(const std::string& package, const Field& field, int index,
                  const pb::FieldDescriptor* there, pb::Message* message) {
    const pb::Reflection* to = message->GetReflection();
    const std::string text = field.name + std::to_string(index) + "\xc3\xa4";
    const std::string raw = std::string("\0\xff", 2) + field.name;
    EXPECT_EQ(there->is_repeated(), field.repeated || field.type == "map");
    if (field.type == "string" || field.type == "bytes") {
      const std::string& value = field.type == "string" ? text : raw;
      EXPECT_EQ(there->type(), field.type == "string" ? pb::FieldDescriptor::TYPE_STRING
                                                      : pb::FieldDescriptor::TYPE_BYTES);
      if (field.repeated) {
        to->AddString(message, there, value);
      } else {
        to->SetString(message, there, value);
      }
      return Bytes(field.number, value);
    }
    if (field.type == "int64") {
      const int64_t value = field.number % 2 == 0 ? -5 : int64_t{1} << 40;
      to->SetInt64(message, there, value);
      return Number(field.number, static_cast<uint64_t>(value));
    }
    if (field.type == "int32") {
      const int32_t value = field.number % 2 == 0 ? -7 : 300;
      to->SetInt32(message, there, value);
      return Number(field.number, static_cast<uint64_t>(static_cast<int64_t>(value)));
    }
    if (field.type == "uint32") {
      to->SetUInt32(message, there, 0xffffffff);
      return Number(field.number, 0xffffffff);
    }
    if (field.type == "bool") {
      to->SetBool(message, there, true);
      return Number(field.number, 1);
    }
    if (field.type == "enum") {
      to->SetEnumValue(message, there, 1);
      return Number(field.number, 1);
    }
    if (field.type == "map") {
      pb::Message* entry = to->AddMessage(message, there);
      const pb::Descriptor* type = entry->GetDescriptor();
      entry->GetReflection()->SetString(entry, type->FindFieldByName("key"), "k");
      entry->GetReflection()->SetString(entry, type->FindFieldByName("value"), "v");
      return Bytes(field.number, Bytes(1, "k") + Bytes(2, "v"));
    }
    pb::Message* inner =
        field.repeated ? to->AddMessage(message, there) : to->MutableMessage(message, there);
    return Bytes(field.number, Fill(package + "." + field.type, inner));
  }

  const Table table_;
};

const pb::FileDescriptor* const kFiles[] = {
    ::filesystem::FileStat::descriptor()->file(), ::context::FileInfo::descriptor()->file(),
    ::sources::SourceView::descriptor()->file(), ::tools::ToolInfo::descriptor()->file(),
    ::gateway::Task::descriptor()->file()};

TEST(V1Golden, EveryMessageHasItsBytes) {
  const Table table = Messages();
  Golden golden(table);
  size_t seen = 0;
  for (const pb::FileDescriptor* file : kFiles) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      const pb::Descriptor* type = file->message_type(i);
      SCOPED_TRACE(type->full_name());
      ++seen;
      std::unique_ptr<pb::Message> message(
          pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
      const std::string bytes = golden.Fill(type->full_name(), message.get());
      EXPECT_EQ(message->SerializeAsString(), bytes);
      std::unique_ptr<pb::Message> back(message->New());
      EXPECT_TRUE(back->ParseFromString(bytes));
      EXPECT_EQ(back->DebugString(), message->DebugString());
      // What was cut off anywhere is refused, or is a shorter message, but never a crash.
      for (size_t cut = 0; cut < bytes.size(); ++cut) {
        (void)back->ParseFromString(bytes.substr(0, cut));
      }
    }
  }
  EXPECT_EQ(seen, table.size());
}

TEST(V1Golden, EveryMethodHasItsPathAndMessages) {
  std::map<std::string, std::string> wanted, found;
  std::istringstream lines(airstore::gateway::kV1Methods);
  for (std::string path, request, response; lines >> path >> request >> response;) {
    wanted[path] = request + " " + response;
  }
  for (const pb::FileDescriptor* file : kFiles) {
    for (int i = 0; i < file->service_count(); ++i) {
      const pb::ServiceDescriptor* service = file->service(i);
      for (int k = 0; k < service->method_count(); ++k) {
        const pb::MethodDescriptor* method = service->method(k);
        EXPECT_FALSE(method->client_streaming());
        found["/" + service->full_name() + "/" + method->name()] =
            method->input_type()->name() + " " + (method->server_streaming() ? "*" : "") +
            method->output_type()->name();
      }
    }
  }
  EXPECT_EQ(found, wanted);
}

// So that the rules above are not wrong in the same way: a few, byte by byte.
TEST(V1Golden, KnownBytes) {
  ::context::ContextWriteRequest write;
  write.set_path("a");
  write.set_data("bc");
  write.set_offset(300);
  EXPECT_EQ(write.SerializeAsString(), "\x0a\x01\x61\x12\x02\x62\x63\x18\xac\x02");
  ::context::FileInfo info;
  info.set_mode(0100644);
  info.set_mtime(-1);
  info.set_is_link(true);
  EXPECT_EQ(info.SerializeAsString(),
            "\x10\xa4\x83\x02\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x28\x01");
  ::tools::ExecuteToolResponse done;
  done.set_done(true);
  done.set_exit_code(7);
  EXPECT_EQ(done.SerializeAsString(), "\x18\x01\x20\x07");
  ::tools::ExecuteToolResponse chunk;
  chunk.set_stream(::tools::ExecuteToolResponse::STDERR);
  chunk.set_data("x");
  EXPECT_EQ(chunk.SerializeAsString(), "\x08\x01\x12\x01x");
  ::gateway::AccessLogEvent event;
  event.set_outcome("o");
  event.set_fetch_ms(1);
  EXPECT_EQ(event.SerializeAsString(), std::string("\xb2\x01\x01o\xc0\x01\x01", 7));
}

}  // namespace
