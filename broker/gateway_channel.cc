// SPDX-License-Identifier: Apache-2.0
#include "broker/gateway_channel.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/client_interceptor.h>
#include <spdlog/spdlog.h>

#include <bit>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "broker/gateway_address.h"
#include "broker/gateway_channel_impl.h"
#include "broker/grpc_status.h"
#include "broker/log_event.h"

namespace airstore::broker {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;
constexpr int kMaxV1MessageBytes = 64 << 20;
constexpr int kKeepaliveMs = 30'000;
constexpr int kV1KeepaliveMs = 5 * 60'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// Reconnect soon: people wait for their files.
constexpr int kFirstBackoffMs = 200;
constexpr int kGreatestBackoffMs = 5'000;
// How long one attempt to connect may take, which gRPC calls the least backoff.
constexpr int kConnectMs = 10'000;
// Where there is another one to go to, one that is stopped is left sooner.
constexpr int kKeepaliveOfSeveralMs = 5'000;
constexpr int kConnectOfSeveralMs = 3'000;

// gRPC gives what it could read of an answer to its callbacks, and does not tell them that the rest
// made no sense: half a listing would be a listing. Here that is an error of the call.
class WholeAnswers final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    // Of a stream these come one by one, and a message that cannot be read ends it.
    if (methods->QueryInterceptionHookPoint(Point::POST_RECV_MESSAGE) &&
        methods->QueryInterceptionHookPoint(Point::POST_RECV_STATUS) &&
        methods->GetRecvMessage() == nullptr && methods->GetRecvStatus()->ok()) {
      *methods->GetRecvStatus() =
          grpc::Status(grpc::StatusCode::INTERNAL, "the answer makes no sense");
    }
    methods->Proceed();
  }

  class Factory final : public grpc::experimental::ClientInterceptorFactoryInterface {
    grpc::experimental::Interceptor* CreateClientInterceptor(
        grpc::experimental::ClientRpcInfo*) override {
      return new WholeAnswers;
    }
  };
};

Result<std::string> ReadFile(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  if (!file) return SysError("read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::shared_ptr<grpc::ChannelCredentials>> TlsCredentials(const GatewayTls& tls) {
  grpc::SslCredentialsOptions options;
  for (const auto& [file, target] : {std::pair{&tls.ca_file, &options.pem_root_certs},
                                     std::pair{&tls.cert_file, &options.pem_cert_chain},
                                     std::pair{&tls.key_file, &options.pem_private_key}}) {
    auto text = ReadFile(*file);
    if (!text) return text.error();
    *target = std::move(*text);
  }
  return grpc::SslCredentials(options);
}

}  // namespace

void GatewayChannel::Enter(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  contexts_.insert(context);
  ++entered_;
  if (closed_) context->TryCancel();
}

namespace {

bool Unanswered(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace

void GatewayChannel::Tally(std::chrono::nanoseconds took, const grpc::Status& status) {
  if (Unanswered(status)) return;
  const auto ns = static_cast<uint64_t>(std::max<int64_t>(took.count(), 1));
  const auto bucket = std::min(static_cast<size_t>(std::bit_width(ns) - 1), latency_.size() - 1);
  latency_[bucket].fetch_add(1, std::memory_order_relaxed);
}

void GatewayChannel::Forget(grpc::ClientContext* context, const grpc::Status& status) {
  const bool unanswered = Unanswered(status);
  const int before =
      last_.exchange(unanswered ? kUnanswered : kAnswered, std::memory_order_relaxed);
  std::string error;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) Advance();
  if (unanswered) {
    unanswered_.fetch_add(1, std::memory_order_relaxed);
    error = PrintableStatus(status);
  } else if (before == kUnanswered) {
    LogEvent(spdlog::level::info, {{"gateway", address_}}, "gateway {} answers again", address_);
  }
  const std::lock_guard lock(mutex_);
  // One that is away fails in the same way for long; another way is news.
  const bool news = unanswered && error != logged_ && other_reason_.Due();
  if (news || (unanswered && not_reached_.Due())) {
    LogEvent(spdlog::level::warn, {{"gateway", address_}, {"error", error}},
             "gateway {} does not answer: {}", address_, error);
    logged_ = error;
  }
  error_ = std::move(error);
  contexts_.erase(context);
}

// One that was just left, or is just being tried, is not left again for what still fails.
void GatewayChannel::Advance() {
  size_t current = current_.load(std::memory_order_relaxed);
  if (channels_.size() < 2) return;
  if (channels_[current]->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE) return;
  current_.compare_exchange_strong(current, (current + 1) % channels_.size(),
                                   std::memory_order_relaxed);
}

GatewayHealth GatewayChannel::Health() const {
  GatewayHealth health;
  health.unanswered = unanswered_.load(std::memory_order_relaxed);
  for (const auto& count : latency_) {
    health.latency.push_back(count.load(std::memory_order_relaxed));
  }
  const std::lock_guard lock(mutex_);
  health.error = error_;
  return health;
}

void GatewayChannel::Leave() {
  const std::lock_guard lock(mutex_);
  if (--entered_ == 0) left_.notify_all();
}

void GatewayChannel::Shutdown() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  left_.wait(lock, [this] { return entered_ == 0; });
}

std::string GatewayChannel::State() const {
  const int last = last_.load(std::memory_order_relaxed);
  switch (channels_[current()]->GetState(false)) {
    case GRPC_CHANNEL_READY:
      return last == kUnanswered ? "unreachable" : "connected";
    case GRPC_CHANNEL_IDLE:  // gRPC lets go of a connection that nobody used for long
      return last == kAnswered ? "connected" : last == kUnanswered ? "unreachable" : "connecting";
    case GRPC_CHANNEL_CONNECTING:
      return last == kUnanswered ? "unreachable" : "connecting";
    default:
      return "unreachable";
  }
}

GatewayChannelPool::GatewayChannelPool(GatewayTls tls) : tls_(std::move(tls)) {
  // One reference to the library that is never given back: with the last one gone it would join its
  // poller, which can take ten seconds of a process's exit.
  static const bool started = (grpc_init(), true);
  (void)started;
}
GatewayChannelPool::~GatewayChannelPool() { Shutdown(); }

Outcome<std::shared_ptr<grpc::Channel>> GatewayChannelPool::Make(const GatewayAddress& address,
                                                                 Speech speech,
                                                                 bool of_several) const {
  using Answer = Outcome<std::shared_ptr<grpc::Channel>>;
  using Tls = GatewayAddress::Tls;
  const bool by_rule = tls_.as_v1 && address.tls == Tls::kByPlace && IsPlainInV1(address.target);
  const bool plain = by_rule || address.tls == Tls::kNever ||
                     (address.tls == Tls::kByPlace && (address.on_host || tls_.insecure));
  if (plain && !by_rule && !address.on_host && !tls_.insecure) {
    return Answer{
        {},
        {FailureKind::kPermission, "refused to talk to " + address.target + " without encryption",
         "use TLS (leave out http://), or allow plain text with gateway_insecure in "
         "airstored's configuration"}};
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!plain) {
    auto made = TlsCredentials(tls_);
    if (!made) {
      return Answer{{},
                    {FailureKind::kHost, made.error().ToString(),
                     "correct gateway_ca_file, gateway_cert_file and gateway_key_file in "
                     "airstored's configuration"}};
    }
    credentials = std::move(*made);
  }
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("airstored/" AIRSTORE_VERSION);
  // Listings of v1 come in one message.
  arguments.SetMaxReceiveMessageSize(speech == Speech::kV1 ? kMaxV1MessageBytes : kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // Pings only while calls are waiting: gateways close connections that ping for nothing.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, speech == Speech::kV1 ? kV1KeepaliveMs
                                               : of_several          ? kKeepaliveOfSeveralMs
                                                                     : kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   of_several ? kKeepaliveOfSeveralMs : kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   of_several ? kConnectOfSeveralMs : kConnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kGreatestBackoffMs);
  // No proxy from the environment for what is on this host.
  if (address.on_host) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Our own gateways are trusted to end what they have begun.
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> checks;
  if (speech == Speech::kV1) checks.push_back(std::make_unique<WholeAnswers::Factory>());
  return Answer{grpc::experimental::CreateCustomChannelWithInterceptors(
                    address.target, credentials, arguments, std::move(checks)),
                {}};
}

Outcome<std::shared_ptr<GatewayChannel>> GatewayChannelPool::Get(const std::string& address,
                                                                 Speech speech) {
  using Answer = Outcome<std::shared_ptr<GatewayChannel>>;
  if (closed_) return Answer{{}, {FailureKind::kUnreachable, "the broker is stopping", ""}};
  const auto found = channels_.find({address, speech});
  if (found != channels_.end()) return Answer{found->second, {}};

  const auto parsed = ParseGatewayAddresses(address);
  if (!parsed) {
    return Answer{{},
                  {FailureKind::kUsage, parsed.error().message,
                   "name one with --gateway, or set it in airstored's configuration"}};
  }
  std::vector<std::shared_ptr<grpc::Channel>> made;
  bool on_host = true;
  for (const GatewayAddress& one : *parsed) {
    auto channel = Make(one, speech, parsed->size() > 1);
    if (!channel.value) return Answer{{}, std::move(channel.failure)};
    made.push_back(std::move(*channel.value));
    on_host = on_host && one.on_host;
  }
  // Any of them, so that hosts share them.
  const size_t first = std::random_device{}() % made.size();
  auto channel = std::make_shared<GatewayChannel>(address, on_host, std::move(made), first);
  channels_.emplace(std::pair(address, speech), channel);
  return Answer{std::move(channel), {}};
}

GatewayHealth GatewayChannelPool::Health(const std::string& address) const {
  GatewayHealth sum;
  for (const auto& [place, channel] : channels_) {
    if (place.first != address) continue;
    GatewayHealth one = channel->Health();
    sum.unanswered += one.unanswered;
    if (sum.error.empty()) sum.error = std::move(one.error);
    sum.latency.resize(std::max(sum.latency.size(), one.latency.size()));
    for (size_t b = 0; b < one.latency.size(); ++b) sum.latency[b] += one.latency[b];
  }
  return sum;
}

void GatewayChannelPool::Shutdown() {
  closed_ = true;
  for (const auto& [place, channel] : channels_) channel->Shutdown();
}

}  // namespace airstore::broker
