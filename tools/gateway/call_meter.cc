// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/call_meter.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "tools/gateway/clock.h"

namespace airstore::gateway {

class CallMeter::Call final : public grpc::experimental::Interceptor {
 public:
  explicit Call(Method& method) : method_(method) { ++method_.running; }
  ~Call() override {
    if (!ended_) End(grpc::StatusCode::CANCELLED);
  }
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    using grpc::experimental::InterceptionHookPoints;
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS) && !ended_) {
      End(batch->GetSendStatus().error_code());
    }
    batch->Proceed();
  }

 private:
  void End(grpc::StatusCode code) {
    ended_ = true;
    --method_.running;
    const auto index = static_cast<size_t>(code);
    ++method_.ended[index < kCodes ? index : static_cast<size_t>(grpc::StatusCode::UNKNOWN)];
    if (!method_.timed) return;
    const auto took = static_cast<uint64_t>((SteadyNow() - begun_).count());
    const size_t bucket = took == 0 ? 0 : static_cast<size_t>(std::bit_width(took)) - 1;
    ++method_.latencies[std::min(bucket, kBuckets - 1)];
  }

  Method& method_;
  const SteadyTime begun_ = SteadyNow();
  bool ended_ = false;
};

class CallMeter::Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(CallMeter& meter) : meter_(meter) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new Call(meter_.Of(*info));
  }

 private:
  CallMeter& meter_;
};

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
CallMeter::Interceptors() {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> all;
  all.push_back(std::make_unique<Factory>(*this));
  return all;
}

CallMeter::Method& CallMeter::Of(const grpc::experimental::ServerRpcInfo& info) {
  const std::string_view name = info.method();
  const std::lock_guard lock(mu_);
  if (const auto found = methods_.find(name); found != methods_.end()) return found->second;
  Method& method = methods_[std::string(name)];
  method.timed = info.type() == grpc::experimental::ServerRpcInfo::Type::UNARY;
  return method;
}

std::map<std::string, CallMeter::Counts> CallMeter::Read() const {
  std::map<std::string, Counts> all;
  const std::lock_guard lock(mu_);
  for (const auto& [name, method] : methods_) {
    Counts& counts = all[name];
    std::copy(method.ended.begin(), method.ended.end(), counts.ended.begin());
    if (method.timed) counts.latencies.assign(method.latencies.begin(), method.latencies.end());
    counts.running = method.running;
  }
  return all;
}

}  // namespace airstore::gateway
