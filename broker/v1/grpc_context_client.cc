// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/grpc_context_client.h"

#include <airstore/v1/context.grpc.pb.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <functional>

#include "broker/grpc_call.h"
#include "broker/grpc_services.h"
#include "broker/grpc_status.h"
#include "broker/names.h"
#include "broker/v1/refusal.h"

namespace airstore::broker::v1 {
namespace {

namespace wire = ::context;
using Service = wire::ContextService;
using AsyncApi = Service::StubInterface::async_interface;

constexpr char kErrnoKey[] = "x-airstore-errno";
constexpr char kExclusiveKey[] = "x-airstore-exclusive";
constexpr char kTouchKey[] = "x-airstore-touch";
constexpr uint64_t kMostSize = 1ull << 60;

// Picks the overload with a callback, not the one with a reactor.
template <typename Request, typename Response>
using Method = void (AsyncApi::*)(grpc::ClientContext*, const Request*, Response*,
                                  std::function<void(grpc::Status)>);

// The errno that the gateway tells besides its text; 0: none.
int StatedErrno(const grpc::ClientContext& context) {
  const auto& trailing = context.GetServerTrailingMetadata();
  const auto found = trailing.find(kErrnoKey);
  if (found == trailing.end()) return 0;
  int code = 0;
  const char* begin = found->second.data();
  std::from_chars(begin, begin + found->second.size(), code);
  return code;
}

// Foreign numbers. EPROTO: they make no sense.
Result<Info> DecodeInfo(int64_t size, uint32_t mode, int64_t mtime_s, bool is_dir, bool is_link) {
  constexpr int64_t kLastSecond = 1ll << 33;
  Info info;
  const uint32_t type = mode & S_IFMT;
  const uint32_t told = is_dir ? S_IFDIR : is_link ? S_IFLNK : type != 0 ? type : S_IFREG;
  if ((type != 0 && is_dir != (type == S_IFDIR)) || size < 0 ||
      static_cast<uint64_t>(size) > kMostSize) {
    return Error{EPROTO, "attributes that make no sense"};
  }
  if (told != S_IFDIR && told != S_IFLNK && told != S_IFREG) {
    return Error{EPROTO, "a file of unknown type"};
  }
  const uint32_t permissions = mode & 07777;
  const uint32_t usual = told == S_IFDIR ? 0755 : told == S_IFLNK ? 0777 : 0644;
  info.mode = told | (mode == 0 ? usual : permissions);
  info.size = told == S_IFDIR ? 0 : static_cast<uint64_t>(size);
  info.mtime_s = std::min(std::max<int64_t>(mtime_s, 0), kLastSecond);
  return info;
}

class GrpcContextClient final : public ContextClient {
  struct Learned {  // written by gRPC's threads
    std::atomic<bool> exact{false};
    std::atomic<bool> refused{false};
  };

  static auto Nothing() {
    return [](auto&, auto&) { return Result<void>(); };
  }

  // Makes a call of the stub's `method`; `decode(request, response)` sees answers with ok only.
  template <typename Response, typename Request, typename Method, typename Decode>
  auto Call(const char* name, Request request, Method method, Decode decode,
            const char* header = nullptr) {
    ++counters_.calls;
    using Answer = std::invoke_result_t<Decode, Request&, Response&>;
    // What is called back runs while the context lives.
    auto used = std::make_shared<grpc::ClientContext*>(nullptr);
    auto start = [stub = stub_.Current(), method, used, header](
                     grpc::ClientContext* context, const Request* from, Response* to,
                     std::function<void(const grpc::Status&)> on_done) {
      *used = context;
      if (header != nullptr) context->AddMetadata(header, "1");
      (stub->async()->*method)(context, from, to, std::move(on_done));
    };
    auto finish = [name, decode, used, learned = learned_](const grpc::Status& status,
                                                           Request& from, Response& to) -> Answer {
      if (!status.ok()) {
        if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) learned->refused = true;
        if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
          return Error{ENOSYS, std::string(name) + ": the gateway has no storage"};
        }
        // An answer that is too large will be so again.
        if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
            status.error_message().find("larger than max") != std::string::npos) {
          return Error{EFBIG, std::string(name) + ": " + status.error_message()};
        }
        return ErrorOfStatus(name, status);
      }
      learned->refused = false;
      if (to.ok()) return decode(from, to);
      const int stated = StatedErrno(**used);
      if (stated != 0) learned->exact = true;
      return Refusal(name, to.error(), stated);
    };
    return UnaryCall<Request, Response>(via_, std::move(request), std::move(start),
                                        std::move(finish));
  }

 public:
  GrpcContextClient(const boost::asio::any_io_executor& loop,
                    std::shared_ptr<GatewayChannel> channel, Secret token,
                    std::chrono::milliseconds timeout)
      : via_{loop, channel, std::move(token), timeout}, stub_(channel) {}

  Task<Result<Info>> Stat(std::string path) override {
    wire::ContextStatRequest request;
    request.set_path(std::move(path));
    constexpr Method<wire::ContextStatRequest, wire::ContextStatResponse> kMethod = &AsyncApi::Stat;
    co_return co_await Call<wire::ContextStatResponse>(
        "stat", std::move(request), kMethod, [](auto&, wire::ContextStatResponse& answer) {
          const wire::FileInfo& info = answer.info();
          if (!answer.has_info()) return Result<Info>(Error{EPROTO, "stat: no attributes"});
          return DecodeInfo(info.size(), info.mode(), info.mtime(), info.is_dir(), info.is_link());
        });
  }

  Task<Result<std::vector<Entry>>> ReadDir(std::string path) override {
    wire::ContextReadDirRequest request;
    request.set_path(std::move(path));
    constexpr Method<wire::ContextReadDirRequest, wire::ContextReadDirResponse> kMethod =
        &AsyncApi::ReadDir;
    co_return co_await Call<wire::ContextReadDirResponse>(
        "read directory", std::move(request), kMethod,
        [](auto&, wire::ContextReadDirResponse& answer) -> Result<std::vector<Entry>> {
          std::vector<Entry> entries;
          for (wire::ContextDirEntry& entry : *answer.mutable_entries()) {
            auto info =
                DecodeInfo(entry.size(), entry.mode(), entry.mtime(), entry.is_dir(), false);
            if (!info) return info.error();
            // A name that no directory can have cannot be asked for either.
            if (!ValidName(entry.name())) continue;
            entries.push_back({std::move(*entry.mutable_name()), *info});
          }
          return entries;
        });
  }

  Task<Result<TreePage>> ListTree(std::string path, int depth, int most,
                                  std::string token) override {
    wire::ListTreeRequest request;
    request.set_path(std::move(path));
    request.set_depth(depth);
    request.set_max_keys(most);
    request.set_continuation_token(std::move(token));
    constexpr Method<wire::ListTreeRequest, wire::ListTreeResponse> kMethod = &AsyncApi::ListTree;
    co_return co_await Call<wire::ListTreeResponse>(
        "list tree", std::move(request), kMethod,
        [](const wire::ListTreeRequest& asked, wire::ListTreeResponse& answer) -> Result<TreePage> {
          TreePage page;
          for (wire::TreeEntry& entry : *answer.mutable_entries()) {
            auto info = DecodeInfo(entry.size(), entry.mode(), entry.mtime(),
                                   (entry.mode() & S_IFMT) == S_IFDIR, false);
            if (!info) return info.error();
            page.entries.push_back({std::move(*entry.mutable_path()), *info});
          }
          page.next = answer.truncated() ? answer.next_token() : std::string();
          if (answer.truncated() &&
              (page.next.empty() || page.next == asked.continuation_token())) {
            return Error{EPROTO, "list tree: a page that does not lead on"};
          }
          return page;
        });
  }

  Task<Result<std::string>> Read(std::string path, uint64_t offset, uint64_t length) override {
    wire::ContextReadRequest request;
    request.set_path(std::move(path));
    request.set_offset(static_cast<int64_t>(offset));
    request.set_length(static_cast<int64_t>(length));
    constexpr Method<wire::ContextReadRequest, wire::ContextReadResponse> kMethod = &AsyncApi::Read;
    auto data = co_await Call<wire::ContextReadResponse>(
        "read", std::move(request), kMethod,
        [](const wire::ContextReadRequest& asked,
           wire::ContextReadResponse& answer) -> Result<std::string> {
          if (answer.data().size() > static_cast<uint64_t>(asked.length())) {
            return Error{EPROTO, "read: more than was asked for"};
          }
          return std::move(*answer.mutable_data());
        });
    if (data) counters_.fetched_bytes += data->size();
    co_return data;
  }

  Task<Result<void>> Write(std::string path, uint64_t offset, std::string data) override {
    wire::ContextWriteRequest request;
    const uint64_t length = data.size();
    request.set_path(std::move(path));
    request.set_offset(static_cast<int64_t>(offset));
    request.set_data(std::move(data));
    constexpr Method<wire::ContextWriteRequest, wire::ContextWriteResponse> kMethod =
        &AsyncApi::Write;
    auto done = co_await Call<wire::ContextWriteResponse>(
        "write", std::move(request), kMethod,
        [](const wire::ContextWriteRequest& asked,
           wire::ContextWriteResponse& answer) -> Result<void> {
          if (static_cast<uint64_t>(answer.written()) != asked.data().size()) {
            return Error{EIO, "write: only a part was taken"};
          }
          return {};
        });
    if (done) counters_.uploaded_bytes += length;
    co_return done;
  }

  Task<Result<void>> Create(std::string path, uint32_t mode, bool exclusive) override {
    wire::ContextCreateRequest request;
    request.set_path(std::move(path));
    request.set_mode(mode);
    constexpr Method<wire::ContextCreateRequest, wire::ContextCreateResponse> kMethod =
        &AsyncApi::Create;
    co_return co_await Call<wire::ContextCreateResponse>(
        "create", std::move(request), kMethod, Nothing(), exclusive ? kExclusiveKey : nullptr);
  }
  Task<Result<void>> Mkdir(std::string path, uint32_t mode, bool exclusive) override {
    wire::ContextMkdirRequest request;
    request.set_path(std::move(path));
    request.set_mode(mode);
    constexpr Method<wire::ContextMkdirRequest, wire::ContextMkdirResponse> kMethod =
        &AsyncApi::Mkdir;
    co_return co_await Call<wire::ContextMkdirResponse>("make directory", std::move(request),
                                                        kMethod, Nothing(),
                                                        exclusive ? kExclusiveKey : nullptr);
  }
  Task<Result<void>> Delete(std::string path) override {
    wire::ContextDeleteRequest request;
    request.set_path(std::move(path));
    constexpr Method<wire::ContextDeleteRequest, wire::ContextDeleteResponse> kMethod =
        &AsyncApi::Delete;
    co_return co_await Call<wire::ContextDeleteResponse>("delete", std::move(request), kMethod,
                                                         Nothing());
  }
  Task<Result<void>> Rename(std::string from, std::string to) override {
    wire::ContextRenameRequest request;
    request.set_old_path(std::move(from));
    request.set_new_path(std::move(to));
    constexpr Method<wire::ContextRenameRequest, wire::ContextRenameResponse> kMethod =
        &AsyncApi::Rename;
    co_return co_await Call<wire::ContextRenameResponse>("rename", std::move(request), kMethod,
                                                         Nothing());
  }
  Task<Result<void>> Truncate(std::string path, uint64_t size) override {
    co_return co_await Cut(std::move(path), size, nullptr);
  }
  Task<Result<void>> Touch(std::string path, uint64_t size) override {
    co_return co_await Cut(std::move(path), size, kTouchKey);
  }
  Task<Result<void>> Cut(std::string path, uint64_t size, const char* header) {
    wire::ContextTruncateRequest request;
    request.set_path(std::move(path));
    request.set_size(static_cast<int64_t>(size));
    constexpr Method<wire::ContextTruncateRequest, wire::ContextTruncateResponse> kMethod =
        &AsyncApi::Truncate;
    co_return co_await Call<wire::ContextTruncateResponse>("truncate", std::move(request), kMethod,
                                                           Nothing(), header);
  }
  Task<Result<void>> Symlink(std::string target, std::string path) override {
    wire::ContextSymlinkRequest request;
    request.set_target(std::move(target));
    request.set_link_path(std::move(path));
    constexpr Method<wire::ContextSymlinkRequest, wire::ContextSymlinkResponse> kMethod =
        &AsyncApi::Symlink;
    co_return co_await Call<wire::ContextSymlinkResponse>("make symbolic link", std::move(request),
                                                          kMethod, Nothing());
  }
  Task<Result<std::string>> Readlink(std::string path) override {
    wire::ContextReadlinkRequest request;
    request.set_path(std::move(path));
    constexpr Method<wire::ContextReadlinkRequest, wire::ContextReadlinkResponse> kMethod =
        &AsyncApi::Readlink;
    co_return co_await Call<wire::ContextReadlinkResponse>(
        "read symbolic link", std::move(request), kMethod,
        [](auto&, wire::ContextReadlinkResponse& answer) -> Result<std::string> {
          constexpr size_t kLongestTarget = 4095;
          if (answer.target().empty() || answer.target().size() > kLongestTarget ||
              answer.target().find('\0') != std::string::npos) {
            return Error{EPROTO, "read symbolic link: no target"};
          }
          return std::move(*answer.mutable_target());
        });
  }

  Manners manners() const override { return {.exact = learned_->exact.load()}; }
  bool refused_token() const override { return learned_->refused.load(); }
  std::shared_ptr<GatewayServices> services() override {
    if (!services_) services_ = MakeGrpcServices(via_);
    return services_;
  }
  void Configure(const ServiceSettings& settings) override {
    via_.metadata = AccessMetadata(settings);
  }
  void SetToken(Secret token) override {
    via_.token = std::move(token);
    if (services_) services_->SetToken(via_.token);
    learned_->refused = false;
  }
  const GatewayCounters& counters() const override { return counters_; }
  std::string state() const override {
    const std::string channel = via_.channel->State();
    return refused_token() && channel == "connected" ? "refused" : channel;
  }
  void Reconnect() override { via_.channel->Reconnect(); }

 private:
  CallContext via_;
  const Stubs<Service> stub_;
  GatewayCounters counters_;
  std::shared_ptr<GatewayServices> services_;
  const std::shared_ptr<Learned> learned_ = std::make_shared<Learned>();
};

}  // namespace

std::unique_ptr<ContextClient> MakeGrpcContextClient(const boost::asio::any_io_executor& loop,
                                                     std::shared_ptr<GatewayChannel> channel,
                                                     Secret token,
                                                     std::chrono::milliseconds call_timeout) {
  return std::make_unique<GrpcContextClient>(loop, std::move(channel), std::move(token),
                                             call_timeout);
}

}  // namespace airstore::broker::v1
