//! Writes the dispatch of the gRPC service from the methods named here, so that a build needs
//! nothing but Rust: the messages are derived in `src/proto.rs`, and no `protoc` is asked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "grpc")]
    service();
}

#[cfg(feature = "grpc")]
fn service() {
    use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

    let method = |name: &str, route: &str, input: &str, output: &str| -> MethodBuilder {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::proto::{input}"))
            .output_type(format!("crate::proto::{output}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    let is_active = |name, route| method(name, route, "ScaledObjectRef", "IsActiveResponse");
    let service = Service::builder()
        .package("externalscaler")
        .name("ExternalScaler")
        .method(is_active("is_active", "IsActive").build())
        .method(
            is_active("stream_is_active", "StreamIsActive")
                .server_streaming()
                .build(),
        )
        .method(
            method(
                "get_metric_spec",
                "GetMetricSpec",
                "ScaledObjectRef",
                "GetMetricSpecResponse",
            )
            .build(),
        )
        .method(
            method(
                "get_metrics",
                "GetMetrics",
                "GetMetricsRequest",
                "GetMetricsResponse",
            )
            .build(),
        )
        .build();
    Builder::new().build_client(false).compile(&[service]);
}
